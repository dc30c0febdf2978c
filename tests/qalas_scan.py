"""Raw data of a QALAS by direct sums: two tissues whose signals are those of each echo of each train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pulsetwin.rawdata import Geometry, RawData
from pulsetwin.recon.qalas.echo_basis import echo_signals
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from tests.synthetic import coil_maps, signal

TISSUES = torch.tensor([[0.85, 0.07], [1.4, 0.09]], dtype=torch.float64)
COILS = 4


def qalas_raw(
    path: str | Path, regions: np.ndarray, *, noise: float = 2e-5, ie: float = 0.9, b1: float = 1.0
) -> RawData:
    """Return what a scan with a `.seq` measures.

    Parameters
    ----------
    path
        The `.seq`, without noise scan.
    regions
        Proton density of each of `TISSUES`, ``[2, z, y, x]``.
    noise
        Deviation of the samples' real part, of the largest sample.
    ie, b1
        Inversion efficiency and relative transmit field, the same everywhere.
    """
    seq = read_seq(path)
    played, timing = played_readouts(seq), QalasTiming.from_definitions(seq.definitions)
    fov = tuple(seq.definitions["FOV"])
    one = torch.ones(len(TISSUES), dtype=torch.float64)
    series = echo_signals(timing, *TISSUES.T, ie * one, b1 * one).numpy()
    events = np.arange(len(played))
    empty = played.readouts(events, np.zeros((len(events), COILS, int(played.num_samples[0])), np.complex64))
    number = events % (5 * timing.train_length)
    contrast, echo = number // timing.train_length, number % timing.train_length
    places = empty.trajectory.offset.round(3)
    _, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
    positions = empty.trajectory[first].positions()
    samples = np.zeros(empty.samples.shape, complex)
    for region, own in zip(regions, series, strict=True):
        lines = signal(region.astype(complex), coil_maps(COILS, region.shape), positions, fov)
        samples += lines[which.ravel()] * own[contrast, echo][:, None, None]
    rng = np.random.default_rng(1)
    level = noise * np.abs(samples).max()
    scan = level * rng.standard_normal((COILS, 4096, 2)).view(complex)[..., 0]
    samples += level * rng.standard_normal((*samples.shape, 2)).view(complex)[..., 0]
    group = replace(empty, samples=samples.astype(np.complex64))
    where = Geometry(fov, regions.shape[:0:-1])
    header = {"vendor": "pulsetwin", "sequence": "pulseq", "signature": seq.signature or ""}
    return RawData((group,), scan.astype(np.complex64), float(group.dwell[0]), where, seq.definitions, header, ())
