"""What the virtual scanner is asked for: whether it is in range, can act, and fits the sequence."""

from __future__ import annotations

import math

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.readouts import PlayedReadouts
from pulsetwin.sequences.seqfile import ADC, SeqFile
from pulsetwin.sim.coil_array import MAX_CHANNELS
from pulsetwin.sim.engines import ENGINES

_LATEST = 1e-3  # of gradients [s]
_EVENTS = 1024  # whose trajectories are in memory at once


def check_settings(
    *, engine: str, coils: int | None, snr: float | None, noise_correlation: float | None,
    gradient_delay: tuple[float, float, float], tol: float | None, spins: int | None, seed: int,
) -> None:  # fmt: skip
    """Raise `ProtocolError` unless the settings of `acquire` are in range and each can act."""
    if engine not in ENGINES:
        raise ProtocolError(f"engine {engine!r} is none of {', '.join(ENGINES)}")
    if coils is not None and not (_is_whole(coils) and 1 <= coils <= MAX_CHANNELS):
        raise ProtocolError(f"coils {coils}: give a whole number from 1 to {MAX_CHANNELS}")
    if not (_is_whole(seed) and 0 <= seed < 1 << 63):
        raise ProtocolError(f"seed {seed}: give a whole number, 0 or more and less than 2^63")
    if spins is not None and not (_is_whole(spins) and spins >= 1):
        raise ProtocolError(f"spins {spins}: give a whole number, 1 or more")
    if snr is not None and not 0 < snr < math.inf:
        raise ProtocolError(f"snr {snr} is not positive: leave it out for a scan without noise")
    if noise_correlation is not None and not 0 <= noise_correlation < 1:
        raise ProtocolError(f"noise_correlation {noise_correlation}: give 0 or more and less than 1")
    if noise_correlation is not None and snr is None:
        raise ProtocolError("noise_correlation is of noise, and there is none without snr: give both or neither")
    if len(gradient_delay) != 3 or not all(abs(late) < _LATEST for late in gradient_delay):
        raise ProtocolError(
            f"gradient_delay {tuple(gradient_delay)}: give three times of less than {1e3 * _LATEST:g} ms [s]"
        )
    for idle in without_effect(engine, tol, spins):
        raise ProtocolError(f"{idle}: leave it out, or choose the other engine")


def without_effect(engine: str, tol: float | None, spins: int | None) -> list[str]:
    """Return what was asked for of the other engine."""
    idle = {"tol": ("isochromats", "exchange"), "spins": ("graphs", "table", "exchange")}
    acts = {"tol": (tol, "graphs"), "spins": (spins, "isochromats")}
    return [
        f"{name} {value:g} acts on {on} only, and the engine is {engine}"
        for name, (value, on) in acts.items()
        if value is not None and engine in idle[name]
    ]


def check_receiver_delay(seq: SeqFile, delay: float) -> None:
    """Raise `ProtocolError` if a late receiver would sample beyond a block.

    Parameters
    ----------
    seq
        The sequence, with an acquisition at least.
    delay
        How much later than `seq` says the receiver samples [s].
    """
    if delay == 0:
        return
    block = np.nonzero(seq.events[:, ADC] != NONE)[0]
    adc = seq.events[block, ADC]
    first = seq.adc.delay[adc] + 0.5 * seq.adc.dwell[adc]
    last = first + (seq.adc.num_samples[adc] - 1) * seq.adc.dwell[adc]
    early, late = -float(first.min()), float((seq.block_duration[block] - last).min())
    if not early - 1e-9 <= delay <= late + 1e-9:
        room = f"{1e6 * early:.4g} to {1e6 * late:.4g} us"
        raise ProtocolError(f"receiver_delay {delay:g} s: the blocks of {seq.path} have room for {room}")


def stated_field(seq: SeqFile) -> float | None:
    """Return the field [T] of the definition ``B0`` of a `.seq`, or None."""
    value = seq.definitions.get("B0")
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None


def field_of(seq: SeqFile, scanner: Scanner | None) -> float | None:
    """Return the field [T] at which `seq` is played: the scanner's, else its own definition's, or None.

    Raises
    ------
    ProtocolError
        If both are known and differ by more than a tenth.
    """
    stated = stated_field(seq)
    if scanner is None:
        return stated
    if stated is not None and abs(scanner.field_strength - stated) > 0.1 * stated:
        raise ProtocolError(
            f"{seq.path} is for {stated:g} T (its definition B0), but scanner {scanner.name} has "
            f"{scanner.field_strength:g} T: choose a scanner of its field, or none (--scanner)"
        )
    return scanner.field_strength


def partitions(played: PlayedReadouts, thickness: float) -> int:
    """Return how many voxels along z the k-space of a sequence resolves.

    Parameters
    ----------
    played
        The acquisitions; those that encode the object count.
    thickness
        Field of view along z [m].
    """
    imaging = played.flags.get("imaging", np.ones(len(played), bool))
    events = np.nonzero(imaging if imaging.any() else np.ones(len(played), bool))[0]
    low, high = math.inf, -math.inf
    for length in np.unique(played.num_samples[events]):
        mine = events[played.num_samples[events] == length]
        for part in np.array_split(mine, math.ceil(len(mine) / _EVENTS)):
            path = played.trajectory(part)
            along, offset = path.shapes[:, :, 2], path.offset[:, 2]
            low = min(low, float((along.min(1)[path.shape_index] + offset).min()))
            high = max(high, float((along.max(1)[path.shape_index] + offset).max()))
    return round((high - low) * thickness) + 1 if len(events) else 1


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
