"""Which excitation makes the contrast of an image, in scans whose readouts encode one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.layout import CONTRAST_LABELS
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import RF, SeqFile
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import RECORD, Program

_ONE_SLICE = 1e-6  # m, by which excitations of a slice may differ


def program_of(seq: SeqFile, model: PoolModel, mode: str) -> Program:
    """Return the program of a sequence with a record for each image.

    Each block with samples is an image, unless labels tell that several make one. Then an image has the contrast that
    the excitation leaves which the sample nearest to the centre of k-space follows; what the others leave only changes
    its sharpness.

    Parameters
    ----------
    seq, model, mode
        As of `compile_seq`.

    Raises
    ------
    ProtocolError, MismatchError
        As `compile_seq`; or if there are no images, they are of several slices or measured in another order than their
        labels tell, or several readouts make one and `model` begins each measurement anew or two share an excitation.
    """
    played = played_readouts(seq)
    events, image = _images(played)
    if not len(image):
        raise ProtocolError(f"{seq.path}: nothing is measured: no block has samples of an image")
    if np.ptp(played.slice_offset[events, None] * played.slice_direction[events], axis=0).max() > _ONE_SLICE:
        raise ProtocolError(f"{seq.path}: slices are excited in turn, but all pulses act on what is simulated: give "
                            "the .seq of a scan of one slice or of a volume")  # fmt: skip
    if image.max() + 1 == len(image):
        program = compile_seq(seq, model, mode=mode)
        kept = np.searchsorted(program.record_block, played.block[events[np.argsort(image)]])
    else:
        if model.reset:
            raise ProtocolError(f"{seq.path}: several readouts make an image, and the magnetisation is carried from "
                                "one to the next: set reset_init_mag: false in the pool model")  # fmt: skip
        program = compile_seq(seq, model, mode=mode, at_excitations=True)
        order = np.lexsort((_distance(played, events), image))
        nearest = events[order[np.append(True, np.diff(image[order]) > 0)]]
        pulse = np.cumsum(seq.events[:, RF] != NONE)
        kept = np.searchsorted(pulse[program.record_block], pulse[played.block[nearest]])
        if len(np.unique(kept)) < len(kept):
            raise ProtocolError(f"{seq.path}: images share an excitation, as several echoes do, but each needs "
                                "a contrast of its own: give a scan of one echo")  # fmt: skip
    if np.any(np.diff(kept) <= 0):
        raise ProtocolError(f"{seq.path}: images are not measured in the order of their labels: give one that does so")
    return _with_records(program, kept)


def _with_records(program: Program, kept: np.ndarray) -> Program:
    """Return a program that makes the records `kept` only, in rising order."""
    left_out = np.delete(np.nonzero(program.path == RECORD)[0], kept)
    return replace(
        program, path=np.delete(program.path, left_out), path_turn=np.delete(program.path_turn, left_out),
        record_turn=program.record_turn[kept], record_block=program.record_block[kept],
    )  # fmt: skip


def _images(played: PlayedReadouts) -> tuple[np.ndarray, np.ndarray]:
    """Return the readouts that make images, and which image each belongs to, by its labels if there are any."""
    imaging = played.flags.get("imaging", np.ones(len(played), bool))
    events = np.nonzero(imaging)[0]
    labels = [played.labels[name][events] for name in CONTRAST_LABELS if name in played.labels]
    if not labels:
        return events, np.arange(len(events))
    _, image = np.unique(np.stack(labels, 1), axis=0, return_inverse=True)
    return events, image.ravel()


def _distance(played: PlayedReadouts, events: np.ndarray) -> np.ndarray:
    """Return how near each readout comes to the centre of k-space [1/m], ``[event]``."""
    nearest = np.empty(len(events))
    for length in np.unique(played.num_samples[events]):
        mine = np.nonzero(played.num_samples[events] == length)[0]
        path = played.trajectory(events[mine])
        for shape in np.unique(path.shape_index):
            alike = np.nonzero(path.shape_index == shape)[0]
            k = path.shapes[shape] + path.offset[alike][:, None]
            nearest[mine[alike]] = np.sqrt((k**2).sum(2).min(1))
    return nearest
