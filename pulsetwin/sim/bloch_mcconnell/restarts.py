"""A program whose measurements do not depend on one another: each begins with what the one before it measured.

What an excitation reads of longitudinal magnetisation, relative to M0, is what that was. So after a record all pools
begin anew, at this share of their equilibrium, with the excitation that was just read; the rest of its readout, the
recovery and the next saturation follow (the parallel mode of Finkelstein et al. 2025). That pools have water's share is
an assumption: a saturation leaves them others, and they meet again during readout and recovery.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.bloch_mcconnell.program import CRUSH, RECORD, RESET, Program
from pulsetwin.sim.bloch_mcconnell.reuse import joined

Events = list[tuple[int, float]]
"""Maps, or what stands in their place, and the turn before each [rad]."""


def restarted(program: Program) -> Program:
    """Return a program that begins anew after each record but the last; `entries.play_entries` takes the shares.

    Raises
    ------
    ProtocolError
        If the magnetisation begins anew already, transverse magnetisation reaches a pulse that is read, a pulse
        precedes the one that the first record reads, which then is not M0, or others are read by other pulses.
    """
    pulses = 1 + np.nonzero(np.add.reduceat(program.amplitude, program.chain[:-1]))[0]
    events: Events = []
    since: list[int] = []
    readings: list[Events] = []
    played = 0
    for number, turn in _apart(program):
        events.append((number, turn))
        if number == CRUSH:
            since = []
        elif number in pulses:
            played += 1
            since.append(len(events) - 1)
        elif number == RESET:
            raise ProtocolError("parallel: the magnetisation begins anew after each image, none depends on another")
        elif number == RECORD:
            readings.append(events[since[0] : -1] if since else [])
            _check(readings, len(since), played)
            if len(readings) < program.records:
                events += [(RESET, 0.0), *readings[-1]]
    path, turns = zip(*events, strict=True)
    product, between, path, turns = joined(np.array(path), np.array(turns), len(program.chain))
    return replace(program, product=product, product_turn=between, path=path, path_turn=turns)


def _check(readings: list[Events], since: int, played: int) -> None:
    """Raise unless the last record tells a share of M0.

    `readings` are what is played from an excitation to its record, `since` pulses without spoiling before it, `played`
    all that were before it.
    """
    image, (own, m0) = len(readings) - 1, ([number for number, _ in readings[k]] for k in (-1, 0))
    if image == 0 and played > since:
        raise ProtocolError("parallel: the first image is not M0, pulses precede its excitation: begin with M0")
    if since > 1:
        raise ProtocolError(f"parallel: transverse magnetisation of other pulses reaches image {image}, which then "
                            "does not tell the longitudinal one: spoil before its excitation")  # fmt: skip
    if own != m0:
        raise ProtocolError(f"parallel: image {image} is excited otherwise than M0, and does not tell a share of it: "
                            "give a schedule of one flip angle")  # fmt: skip


def _apart(program: Program) -> Events:
    """Return the path without products."""
    chains = len(program.chain)

    def unfolded(number: int, turn: float) -> Events:
        if number < chains:
            return [(number, turn)]
        (first, second), between = program.product[number - chains].tolist(), program.product_turn[number - chains]
        return unfolded(first, turn) + unfolded(second, float(between))

    pairs = zip(program.path.tolist(), program.path_turn.tolist(), strict=True)
    return [event for number, turn in pairs for event in unfolded(number, turn)]
