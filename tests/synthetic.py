"""Scans of known objects by direct summation in float64, as the readers would return them."""

from __future__ import annotations

import numpy as np

from pulsetwin.rawdata import Geometry, RawData, Readouts, Trajectory

FOV = (0.24, 0.24, 0.12)


def ellipses(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """An asymmetric object ``[z, y, x]`` of a few ellipsoids with smooth phase."""
    nz, _ny, _nx = shape
    z, y, x = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    flat = 0 if nz == 1 else 1
    body = 1.0 * ((x / 0.3) ** 2 + (y / 0.22) ** 2 + flat * (z / 0.4) ** 2 < 1)
    body -= 0.6 * (((x - 0.1) / 0.08) ** 2 + ((y - 0.05) / 0.06) ** 2 + flat * (z / 0.3) ** 2 < 1)
    body += 0.5 * (((x + 0.12) / 0.05) ** 2 + ((y + 0.08) / 0.1) ** 2 + flat * ((z - 0.1) / 0.2) ** 2 < 1)
    return body * np.exp(1j * (0.6 * x - 0.9 * y + 0.5 * z + 0.3))


def coil_maps(coils: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth complex sensitivities ``[coil, z, y, x]`` of coils on a ring."""
    nz, _ny, _nx = shape
    z, y, x = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    angle = 2 * np.pi * np.arange(coils) / coils
    height = 0.35 * np.where(np.arange(coils) % 2, 1, -1) * (nz > 1)
    maps = []
    for a, h in zip(angle, height, strict=True):
        distance = (x - 0.75 * np.cos(a)) ** 2 + (y - 0.75 * np.sin(a)) ** 2 + (z - h) ** 2
        maps.append(np.exp(1j * (a + 1.5 * (x * np.sin(a) - y * np.cos(a)))) / (0.15 + distance))
    return np.array(maps)


def signal(image: np.ndarray, maps: np.ndarray, positions: np.ndarray, fov: tuple[float, float, float]) -> np.ndarray:
    """Direct sum ``s_c(k) = sum_r C_c(r) m(r) exp(-2 pi i k r) / sqrt(N)``, ``[readout, coil, sample]``.

    `positions` is ``[readout, sample, 3]`` [1/m]; the sum is separable only in memory, not in approximation.
    """
    grids = [(np.arange(n) - n // 2) * f / n for n, f in zip(image.shape[::-1], fov, strict=True)]
    inside = np.nonzero(np.abs(image).ravel() > 0)[0]
    z, y, x = np.meshgrid(grids[2], grids[1], grids[0], indexing="ij")
    where = np.stack([x.ravel()[inside], y.ravel()[inside], z.ravel()[inside]])
    weighted = (maps * image).reshape(len(maps), -1)[:, inside] / np.sqrt(image.size)
    samples = np.empty((positions.shape[0], len(maps), positions.shape[1]), complex)
    for i, k in enumerate(positions):
        samples[i] = weighted @ np.exp(-2j * np.pi * (where.T @ k.T))
    return samples


def cartesian_positions(
    shape: tuple[int, int, int], fov: tuple[float, float, float] = FOV, oversampling: int = 1
) -> np.ndarray:
    """Positions ``[readout, sample, 3]`` [1/m] of a full Cartesian scan, lines in order of y then z."""
    nz, ny, nx = shape
    kx = (np.arange(nx * oversampling) - nx * oversampling // 2) / (fov[0] * oversampling)
    ky = (np.arange(ny) - ny // 2) / fov[1]
    kz = (np.arange(nz) - nz // 2) / fov[2]
    positions = np.zeros((nz, ny, len(kx), 3))
    positions[..., 0], positions[..., 1], positions[..., 2] = kx, ky[:, None], kz[:, None, None]
    return positions.reshape(-1, len(kx), 3)


def scan(
    samples: np.ndarray,
    positions: np.ndarray,
    shape: tuple[int, int, int],
    *,
    fov: tuple[float, float, float] = FOV,
    labels: dict[str, np.ndarray] | None = None,
    flags: dict[str, np.ndarray] | None = None,
    noise: np.ndarray | None = None,
    dwell: float = 5e-6,
) -> RawData:
    """Wrap samples and positions into `RawData`."""
    count = len(samples)
    readouts = Readouts(
        samples.astype(np.complex64),
        Trajectory.from_positions(positions),
        np.arange(count) * 5e-3,
        np.full(count, dwell),
        {name: np.asarray(values, np.int32) for name, values in (labels or {}).items()},
        flags or {},
    )
    return RawData((readouts,), noise, dwell, Geometry(fov, (shape[2], shape[1], shape[0])))


def nrmse(image: np.ndarray, truth: np.ndarray) -> float:
    """Error relative to `truth` after the best common complex scale."""
    scale = np.vdot(image, truth) / np.vdot(image, image)
    return float(np.linalg.norm(scale * image - truth) / np.linalg.norm(truth))
