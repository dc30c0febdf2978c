"""The receive channels of a reconstruction: noise prewhitening and compression to virtual coils in one matrix."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.compress import svd_compression
from pulsetwin.recon.whiten import whitening

CALIBRATION_READOUTS = 256
"""Readouts nearest the k-space centre from which the compression is learnt."""
FEWEST_COILS = 4
"""Compression below this many virtual coils is refused rather than done for lack of memory."""


def channel_matrix(
    raw: RawData, readouts: Readouts, *, coils: int | None, coil_bytes: int, memory: int, dtype: torch.dtype
) -> tuple[Tensor, list[str]]:
    """Return the matrix ``[virtual, coil]`` that whitens the noise and compresses the coils, and what was assumed.

    All coils are kept unless `coils` asks for fewer or the memory does not hold them.

    Parameters
    ----------
    raw
        The scan, for its noise.
    readouts
        Imaging readouts.
    coils
        Number of virtual coils wanted, or None.
    coil_bytes
        Memory that one coil of the gridded scan needs [byte].
    memory
        Memory to stay below [byte].
    dtype
        Complex type of the matrix.

    Raises
    ------
    ProtocolError
        If more virtual coils are wanted than there are, or too few fit into the memory.
    """
    if coils is not None and not 1 <= coils <= raw.coils:
        raise ProtocolError(f"{coils} virtual coils wanted of {raw.coils}: give a number from 1 to {raw.coils}")
    fits = memory // max(coil_bytes, 1)
    if fits < min(FEWEST_COILS, coils or raw.coils):
        need = min(FEWEST_COILS, raw.coils) * coil_bytes / 2**30
        raise ProtocolError(f"the scan needs {need:.1f} GiB but {memory / 2**30:.1f} GiB are allowed: raise --memory")
    whiten = _whitening(raw, readouts)
    keep = min(coils or raw.coils, int(fits))
    if keep == raw.coils:
        return whiten.to(dtype), []
    samples = _central_samples(readouts)
    compress = svd_compression(whiten @ samples, keep)
    kept = _kept_energy(compress, whiten @ samples)
    sentence = f"{raw.coils} coils were compressed to {keep} virtual ones, which hold {100 * kept:.2f} % of the signal"
    return (compress @ whiten).to(dtype), [sentence]


def _whitening(raw: RawData, readouts: Readouts) -> Tensor:
    """Whitening matrix at the bandwidth of the imaging readouts, complex128; the identity without noise."""
    if raw.noise is None:
        return torch.eye(raw.coils, dtype=torch.complex128)
    matrix = whitening(torch.from_numpy(np.asarray(raw.noise))).to(torch.complex128)
    dwell = float(np.median(readouts.dwell))
    bandwidth = raw.noise_dwell / dwell if raw.noise_dwell > 0 and dwell > 0 else 1.0
    return matrix / np.sqrt(bandwidth)


def _central_samples(readouts: Readouts) -> Tensor:
    """Read the samples nearest the k-space centre, complex128 ``[coil, sample]``."""
    assert readouts.trajectory is not None
    distance = np.linalg.norm(readouts.trajectory.offset[:, 1:], axis=1)
    nearest = np.sort(np.argsort(distance, kind="stable")[:CALIBRATION_READOUTS])
    samples = torch.from_numpy(np.asarray(readouts.samples[nearest]))
    return samples.movedim(1, 0).flatten(1).to(torch.complex128)


def _kept_energy(compress: Tensor, samples: Tensor) -> float:
    """Fraction of the energy of `samples` that the virtual coils hold."""
    return float(((compress @ samples).abs().square().sum() / samples.abs().square().sum()).real)
