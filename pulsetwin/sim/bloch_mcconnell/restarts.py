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
        If the magnetisation begins anew already, transverse magnetisation reaches a pulse that is read, or a pulse
        precedes the one that the first record reads, which then is not M0.
    """
    pulses = 1 + np.nonzero(np.add.reduceat(program.amplitude, program.chain[:-1]))[0]
    events: Events = []
    read: list[int] = []
    played = records = 0
    for number, turn in _apart(program):
        events.append((number, turn))
        if number == CRUSH:
            read = []
        elif number in pulses:
            played += 1
            read.append(len(events) - 1)
        elif number in (RECORD, RESET):
            records += 1
            _check(number, records, played, len(read))
            if records < program.records:
                again = events[read[0] : -1] if read else []
                events += [(RESET, 0.0), *again]
    path, turns = zip(*events, strict=True)
    product, between, path, turns = joined(np.array(path), np.array(turns), len(program.chain))
    return replace(program, product=product, product_turn=between, path=path, path_turn=turns)


def _check(number: int, records: int, played: int, read: int) -> None:
    """Raise unless the record, the `records`-th after `played` pulses, reads at most one, and the first one M0."""
    if number == RESET:
        raise ProtocolError("parallel: the magnetisation begins anew after each image, none depends on another")
    if records == 1 and played > read:
        raise ProtocolError("parallel: the first image is not M0, pulses precede its excitation: begin with M0")
    if read > 1:
        raise ProtocolError(f"parallel: transverse magnetisation of other pulses reaches image {records - 1}, which "
                            "then does not tell the longitudinal one: spoil before its excitation")  # fmt: skip


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
