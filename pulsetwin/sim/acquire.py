"""The virtual scanner: plays a sequence on a phantom and returns raw data as a reader would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import Geometry, RawData, Readouts
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.geometry import stated_fov, with_sequence
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.acquire_noise import with_noise
from pulsetwin.sim.acquire_settings import (
    check_receiver_delay,
    check_settings,
    field_of,
    partitions,
    without_effect,
)
from pulsetwin.sim.coil_array import with_coils
from pulsetwin.sim.engines import choose_engine, play
from pulsetwin.sim.exchange_signal import simulate_exchange
from pulsetwin.sim.phantom import Phantom, Voxels
from pulsetwin.sim.phantoms import phantom_by_name
from pulsetwin.sim.timeline_from_seq import as_seq_file, timeline_from_seq

if TYPE_CHECKING:
    import pypulseq

RAS_OF_GRADIENTS = np.diag([1.0, -1.0, 1.0])
"""Directions of the gradients x, y, z in RAS, as columns: right, back, head, as the Siemens interpreter plays them."""
_LEFT_OUT = 1e-3  # share of the magnetisation above which a scan says that states are missing
_SPINS, _CORRELATION, _FIELD = 256, 0.2, 3.0


def acquire(
    sequence: str | Path | SeqFile | pypulseq.Sequence,
    phantom: Phantom,
    scanner: Scanner | None = None,
    *,
    coils: int | None = None,
    snr: float | None = None,
    noise_correlation: float | None = None,
    receiver_delay: float = 0.0,
    gradient_delay: tuple[float, float, float] = (0.0, 0.0, 0.0),
    engine: str = "auto",
    tol: float | None = None,
    spins: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> RawData:
    """Measure `phantom` with `sequence`.

    Parameters
    ----------
    sequence
        A `.seq` or its path, or a `pypulseq.Sequence`.
    phantom
        The object, centred in the magnet: its x, y, z are RAS, while the gradient y points to the back.
    scanner
        Its field strength counts for offsets in ppm; by default the sequence's definition ``B0``. Where both are
        known, they may differ by a tenth.
    coils
        Channels of an array around the phantom, 1 to 32; by default the sensitivities of `phantom`.
    snr
        Root-mean-square signal-to-noise ratio of the object's voxels (signal over the standard deviation of the noise's
        real part) in an image of one sample per voxel, combined by the sensitivities. If None, there is no noise, no
        noise scan, and none of the readouts that the `.seq` labels as noise.
    noise_correlation
        Correlation of the noise of neighbouring channels, falling with its powers from channel to channel; 0.2 by
        default. Not without `snr`.
    receiver_delay
        How much later than the `.seq` says the receiver samples [s]: ghosts of an echo-planar scan. Samples stay within
        their blocks.
    gradient_delay
        How much later than the `.seq` says the gradients along the scanner's x, y, z play, relative to pulses and
        receiver [s], each less than 1 ms. The trajectory of the raw data remains that of the `.seq`.
    engine
        ``auto``, ``graphs``, ``isochromats``, ``table`` or ``exchange``, see `choose_engine`.
    tol
        Relative error allowed to the graphs, all states are kept if None, and to the table of tissues, 1e-3 if None.
        Not with isochromats.
    spins
        Spins per voxel of the isochromats, 256 by default. Not with other engines.
    seed
        Of the noise and of the spins' places, 0 or more and less than 2^63.
    progress
        Called with work done, its total and what is done.

    Returns
    -------
    RawData
        With the engine and the reason for it in ``header``, and in ``warnings`` which settings had no effect on the
        engine that was chosen for the sequence.

    Raises
    ------
    ProtocolError
        If a setting is out of range or cannot act, there is no signal for `snr`, or the sequence cannot be simulated.
    """
    check_settings(
        engine=engine, coils=coils, snr=snr, noise_correlation=noise_correlation, gradient_delay=gradient_delay,
        tol=tol, spins=spins, seed=seed,
    )  # fmt: skip
    seq = as_seq_file(sequence)
    played = played_readouts(seq)
    if not len(played):
        raise ProtocolError("the sequence has no acquisition: there is nothing to measure")
    if snr is None and _is_noise(played).all():
        raise ProtocolError("all acquisitions of the sequence are labelled as noise, and there is none: give snr")
    check_receiver_delay(seq, receiver_delay)
    field = field_of(seq, scanner)
    phantom = phantom if coils is None else with_coils(phantom, coils)
    delayed = replace(seq, adc=replace(seq.adc, delay=seq.adc.delay + receiver_delay)) if receiver_delay else seq
    timeline = timeline_from_seq(delayed, field_strength=field, gradient_delay=gradient_delay)
    voxels = along_gradients(phantom.voxels())
    choice = choose_engine(timeline, phantom, voxels, engine)
    spread = {"spins": _SPINS if spins is None else spins, "seed": seed}
    if choice.engine == "exchange":
        signal, facts = simulate_exchange(seq, timeline, voxels, field, progress)
    else:
        signal, facts = play(timeline, voxels, choice, tol=tol, **spread, progress=progress)
    groups = _groups(played, signal.numpy(), with_noise=snr is not None)
    noise = None
    if snr is not None:
        correlation = _CORRELATION if noise_correlation is None else noise_correlation
        groups, noise = with_noise(groups, phantom, snr, correlation, np.random.default_rng(seed))
    where = Geometry(phantom.fov, phantom.grid[::-1], RAS_OF_GRADIENTS, np.zeros((1, 3)), "HFS")
    groups, where, notes = with_sequence(groups, where, played, np.nonzero(~_is_noise(played))[0])
    idle = without_effect(choice.engine, tol, spins)
    notes += _notes(idle, int(_is_noise(played).sum()) if snr is None else 0, facts)
    header = {
        "vendor": "pulsetwin", "sequence": "pulseq", "signature": seq.signature or "", "engine": choice.engine,
        "engine_reason": choice.why, "seed": seed, **facts,
    }  # fmt: skip
    if field is not None:
        header["field_strength"] = field
    return RawData(groups, noise, float(groups[0].dwell[0]), where, seq.definitions, header, tuple(notes))


def _notes(idle: list[str], left_out: int, facts: dict[str, Any]) -> list[str]:
    """Return what a user should know: settings without effect, readouts of noise and states that were left out."""
    notes = [f"{name}: it had no effect" for name in idle]
    if left_out:
        notes.append(f"{left_out} readouts labelled as noise were left out: there is no noise without snr")
    if (share := facts.get("magnetisation_left_out", 0)) > _LEFT_OUT:
        notes.append(f"the graph leaves out states of up to {100 * share:.1f} % of the magnetisation after a pulse")
    if "tolerance" in facts and (error := facts["estimated_error"]) > facts["tolerance"]:
        notes.append(
            f"between its {facts['tissues']} tissues, the table errs by up to {100 * error:.1f} % of the signal"
        )
    return notes


def along_gradients(voxels: Voxels) -> Voxels:
    """Return `voxels`, whose positions are RAS, with those along the gradients x, y, z, as the engines take them.

    Field maps and coils are per voxel and stay where they are in the head.
    """
    return replace(voxels, position=voxels.position @ voxels.position.new_tensor(RAS_OF_GRADIENTS))


def phantom_for(seq: SeqFile, name: str, matrix: int, scanner: Scanner | None = None) -> Phantom:
    """Return a phantom that fills the field of view of `seq`, with as many voxels along z as its k-space resolves.

    Parameters
    ----------
    seq
        The sequence; where it states no field of view, that is 220 mm and a slice of 5 mm.
    name
        Of the phantom, or the path of a NIfTI file, see `phantoms.phantom_by_name`.
    matrix
        Voxels along x and along y.
    scanner
        Its field strength counts; by default that of the sequence's definition ``B0``, or else 3 T.

    Raises
    ------
    ProtocolError
        If the phantom is not known, or has no values at the field strength; or if that of the scanner is not the
        sequence's.
    """
    fov = stated_fov(seq.definitions) or (0.22, 0.22, 0.005)
    field = field_of(seq, scanner) or _FIELD
    grid = partitions(played_readouts(seq), fov[2]), matrix, matrix
    try:
        return phantom_by_name(name, grid, fov, field)
    except ProtocolError as error:
        phantom_by_name(name, grid, fov, _FIELD)  # raises again if it is not for the field
        whose = f"scanner {scanner.name}; choose another (--scanner)" if scanner else f"the definition B0 of {seq.path}"
        raise ProtocolError(f"phantom {name}: {error}, or give a NIfTI phantom; the field is that of {whose}") from None


def _groups(played: PlayedReadouts, signal: np.ndarray, with_noise: bool) -> tuple[Readouts, ...]:
    """Return readouts of equal length, those with most samples first; those labelled as noise are empty or left out."""
    start = np.concatenate(([0], np.cumsum(played.num_samples)))
    silent = _is_noise(played)
    signal = np.where(np.repeat(~silent, played.num_samples), signal, 0).astype(np.complex64)
    kept = np.nonzero(~silent | with_noise)[0]
    groups = []
    for length in np.unique(played.num_samples[kept]):
        events = kept[played.num_samples[kept] == length]
        index = start[events][:, None] + np.arange(length)
        groups.append(played.readouts(events, np.ascontiguousarray(signal[:, index].swapaxes(0, 1))))
    return tuple(sorted(groups, key=lambda group: -len(group) * group.samples.shape[2]))


def _is_noise(played: PlayedReadouts) -> np.ndarray:
    return played.flags.get("noise", np.zeros(len(played), bool))
