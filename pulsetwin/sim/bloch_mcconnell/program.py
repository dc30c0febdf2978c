"""A `.seq` as linear maps of the magnetisation and the path through them, without any tissue.

A pulse is played in the frame of its own frequency and phase, so that equal pulses share a map whatever their phase:
between two of them the magnetisation is turned about z by what their phases differ. Maps that are played often in the
same succession are multiplied once.
"""

from __future__ import annotations

from dataclasses import dataclass

from pulsetwin.sequences.events import Array

RECORD, RESET, DEPHASE = -1, -2, -3
CRUSH = 0


@dataclass(frozen=True, slots=True)
class Program:
    """What is played, in maps that depend on the tissue and a path that does not.

    Map 0 takes away the transverse magnetisation. Maps from 1 on are chains of steps; those after the chains are
    products of two maps with a turn between them. A turn acts before its map, and turns by ``exp(i turn)``.

    Parameters
    ----------
    mode
        ``physical`` or ``pulseq_cest``.
    frequency, amplitude, duration, turn
        Of each step: offset [Hz] of its frame, nutation frequency [Hz], time [s], and turn before it [rad]; float64
        ``[step]``. Free precession is a step in the frame of the carrier without amplitude.
    chain
        First step of each chain, int64 ``[chain + 1]``.
    product
        First and second map of each product, int64 ``[product, 2]``.
    product_turn
        Turn between them [rad], float64 ``[product]``.
    path
        Maps in order of play, or in their place `RECORD`, `RESET`, or `DEPHASE` less the row of `dephasing`, int64
        ``[event]``.
    path_turn
        Turn before each of them [rad], float64 ``[event]``.
    dephasing
        Turns of isochromats by gradients [rad], float64 ``[kind, isochromat]``. A record is the mean over isochromats.
    record_turn
        Turn from the frame of a record to that of the carrier [rad], float64 ``[record]``.
    record_block
        Row of its block in the sequence, int64 ``[record]``.
    """

    mode: str
    frequency: Array
    amplitude: Array
    duration: Array
    turn: Array
    chain: Array
    product: Array
    product_turn: Array
    path: Array
    path_turn: Array
    dephasing: Array
    record_turn: Array
    record_block: Array

    @property
    def records(self) -> int:
        """Number of measured values."""
        return len(self.record_turn)
