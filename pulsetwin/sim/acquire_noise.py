"""Noise of the virtual scanner's receivers: correlated between channels, at a stated signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.rawdata import Readouts
from pulsetwin.sim.phantom import Phantom

_SAMPLES = 16384  # of the noise scan


def with_noise(
    groups: tuple[Readouts, ...], phantom: Phantom, snr: float, correlation: float, rng: np.random.Generator
) -> tuple[tuple[Readouts, ...], np.ndarray]:
    """Return readouts with noise, and a noise scan of the first group's dwell time, complex64 ``[coil, sample]``.

    Parameters
    ----------
    groups
        Readouts without noise, with trajectories.
    phantom
        What they show.
    snr
        Ratio as in `acquire`.
    correlation
        Of neighbouring channels, falling with its powers from channel to channel.
    rng
        Draws the noise.

    Raises
    ------
    ProtocolError
        If there is no signal.
    """
    mixing, dwell = _mixing(groups, phantom, snr, correlation), float(groups[0].dwell[0])
    noisy = tuple(_noisy(group, rng, mixing, dwell) for group in groups)
    return noisy, (mixing @ _white(rng, (len(mixing), _SAMPLES))).astype(np.complex64)


def _mixing(groups: tuple[Readouts, ...], phantom: Phantom, snr: float, correlation: float) -> np.ndarray:
    """Return the matrix that turns white noise into that of the channels, ``[coil, coil]``."""
    energy = _mean_energy(groups, np.array(phantom.fov))
    if not energy > 0:
        raise ProtocolError(f"snr {snr:g}: the readouts hold no signal to have noise of this ratio: leave it out")
    filled = float((phantom.proton_density > 0).double().mean())
    level = np.sqrt(energy / filled) / snr
    channel = np.arange(groups[0].coils)
    covariance = correlation ** np.abs(channel[:, None] - channel)
    return np.asarray(level * np.linalg.cholesky(covariance))


def _mean_energy(groups: tuple[Readouts, ...], fov: np.ndarray) -> float:
    """Return the mean energy of imaging samples over the cells of k-space, however many samples each cell has."""
    imaging = [group.select(group.flag("imaging")) for group in groups]
    energy = np.concatenate([np.sum(np.abs(np.asarray(group.samples)) ** 2, 1).ravel() for group in imaging])
    if not len(energy):
        return 0.0
    places = [group.trajectory.positions().reshape(-1, 3) for group in imaging if group.trajectory is not None]
    cell = np.floor(np.concatenate(places) * fov + 0.501).astype(np.int64)  # samples may lie half way between cells
    cell -= cell.min(0)
    _, number = np.unique(np.ravel_multi_index(tuple(cell.T), tuple(cell.max(0) + 1)), return_inverse=True)
    return float(np.mean(np.bincount(number, energy) / np.bincount(number)))


def _noisy(group: Readouts, rng: np.random.Generator, mixing: np.ndarray, noise_dwell: float) -> Readouts:
    """Add noise, whose variance grows with the bandwidth."""
    scale = np.sqrt(noise_dwell / group.dwell)[:, None, None]
    noise = scale * np.einsum("cd,rds->rcs", mixing, _white(rng, group.samples.shape))
    return replace(group, samples=(group.samples + noise).astype(np.complex64))


def _white(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
