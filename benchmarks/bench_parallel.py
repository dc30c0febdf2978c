"""Parallel imaging beside sigpy: error to the full data and time, each at its best setting.

Data: the real 32-channel spin echo undersampled afterwards, and a synthetic 32-channel volume (Biot-Savart loops,
noise) for 2x2. NRMSE is to ``S^H F^-1`` of the full data with the same ESPIRiT maps (made by pulsetwin from the same
calibration lines) for every method, GRAPPA included; "best" is the regularisation and iteration count of a grid with
the lowest NRMSE. "Solver" is the time from maps to image (of GRAPPA: its whole time), "road" that from samples to
image: with the time of ESPIRiT, on sigpy's side that of EspiritCalib at the same kernel. Times are medians of
interleaved runs in one process, one thread each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import sigpy
import sigpy.mri
import torch
from torch import Tensor

from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.espirit import espirit
from pulsetwin.recon.grappa import grappa
from pulsetwin.recon.read import read
from pulsetwin.recon.sense import sense
from pulsetwin.recon.sparse import l1_wavelet, total_variation
from pulsetwin.recon.undersampling import analyse, regular_mask

DATA = Path(__file__).resolve().parent.parent / "examples" / "data" / "pulseq_se"
AXES = (1, 2, 3)
LAMBDAS = (0.0, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2)
REPEATS = 7
Times = tuple[float, float, float]


def spin_echo() -> Tensor:
    """Full k-space of the real scan, ``[32, 1, 64, 64]``."""
    raw = read(DATA / "image.dat", DATA / "image.seq", trust_seq=True)
    group = raw.groups[0]
    order = np.argsort(group.trajectory.offset[:, 1])
    kspace = torch.from_numpy(np.asarray(group.samples[order])).permute(1, 0, 2)[:, None].contiguous()
    return kspace / kspace.abs().max()


def loops(shape: tuple[int, int, int], coils: int = 32, fov: float = 0.22, segments: int = 20) -> np.ndarray:
    """Receive fields ``Bx - i By`` of loops on four rings around the volume, ``[coil, z, y, x]``."""
    grid = np.meshgrid(*[(np.arange(n) - n // 2) / n * fov for n in shape], indexing="ij")
    z, y, x = (axis.astype(np.float32) for axis in grid)
    fields = np.empty((coils, *shape), np.complex64)
    turns = 2 * np.pi * np.arange(segments) / segments
    for coil in range(coils):
        ring, place = divmod(coil, coils // 4)
        angle = 2 * np.pi * (place + 0.5 * (ring % 2)) / (coils // 4)
        out, along = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
        corners = 0.16 * out + 0.05 * np.cos(turns)[:, None] * along
        corners[:, 2] += (ring - 1.5) * 0.07 + 0.05 * np.sin(turns)
        steps, total = np.roll(corners, -1, 0) - corners, 0
        for (px, py, pz), (dx, dy, dz) in zip(corners + steps / 2, steps, strict=True):
            rx, ry, rz = x - px, y - py, z - pz
            total = total + (dy * rz - dz * ry - 1j * (dz * rx - dx * rz)) / (rx * rx + ry * ry + rz * rz) ** 1.5
        fields[coil] = total
    return fields / np.abs(fields).max()


def volume(shape: tuple[int, int, int] = (32, 48, 48), snr: float = 100, seed: int = 0) -> Tensor:
    """Full noisy k-space of ellipsoids with smooth phase, ``[32, z, y, x]``."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[(np.arange(n) - n // 2) / (n / 2) for n in shape], indexing="ij")
    body = (z / 0.8) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1
    image = body.astype(float)
    for _ in range(12):
        (cz, cy, cx), (wz, wy, wx) = random.uniform(-0.5, 0.5, 3), random.uniform(0.06, 0.25, 3)
        inside = ((z - cz) / wz) ** 2 + ((y - cy) / wy) ** 2 + ((x - cx) / wx) ** 2 < 1
        image += random.uniform(-0.5, 0.8) * (inside & body)
    coils = torch.from_numpy(loops(shape) * image * np.exp(1j * (0.8 * x + 0.5 * y * z + 0.6 * y * y)))
    level = float(coils.abs().square().sum(0).sqrt()[torch.from_numpy(body)].mean()) / snr
    noise = random.standard_normal((2, *coils.shape)) * level / np.sqrt(2)
    kspace = fft(coils, AXES) + torch.from_numpy(noise[0] + 1j * noise[1])
    return (kspace / kspace.abs().max()).to(torch.complex64)


def nrmse(image: Tensor, truth: Tensor) -> float:
    return float((image - truth).norm() / truth.norm())


def interleaved(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int = REPEATS
) -> tuple[float, float, float]:
    """Median times [s] of both and median ratio peer / ours."""
    times = []
    for _ in range(REPEATS):
        laps = [time.perf_counter()]
        for one in (ours, peer):
            one()
            laps.append(time.perf_counter())
        times.append(np.diff(laps))
    return median(t[0] for t in times), median(t[1] for t in times), median(t[1] / t[0] for t in times)


def best_sigpy(data: np.ndarray, maps: np.ndarray, truth: Tensor, most: int) -> tuple[float, float, int]:
    """Lowest NRMSE over the grid of lambda and all iteration counts up to `most`, with both."""
    found = []
    for weight in LAMBDAS:
        app = sigpy.mri.app.SenseRecon(data, maps, lamda=weight, max_iter=most, show_pbar=False)
        for count in range(1, most + 1):
            app.alg.update()
            found.append((nrmse(torch.from_numpy(app.x.reshape(truth.shape)), truth), weight, count))
    return min(found)


def parallel(name: str, kspace: Tensor, mask: np.ndarray, counts: tuple[int, ...]) -> None:
    """Print GRAPPA and SENSE beside sigpy's SenseRecon for one sampling pattern."""
    plane, shape = torch.from_numpy(mask), tuple(kspace.shape[1:])
    (z0, z1), (y0, y1) = analyse(plane).calibration
    data, calibration = kspace * plane[..., None], kspace[:, z0:z1, y0:y1]
    centre = kspace.shape[-1] // 2
    block = calibration[..., centre - 12 : centre + 12]
    maps = espirit(block, shape)
    truth = (maps.conj() * ifft(kspace, AXES)).sum(0)
    squeeze = (1,) if kspace.shape[1] == 1 else ()
    peer_data, peer_maps = (np.ascontiguousarray(one.numpy().squeeze(squeeze)) for one in (data, maps))
    peer_error, weight, count = best_sigpy(peer_data, peer_maps, truth, max(counts))

    def peer() -> object:
        return sigpy.mri.app.SenseRecon(peer_data, peer_maps, lamda=weight, max_iter=count, show_pbar=False).run()

    def peer_calibration() -> object:
        return sigpy.mri.app.EspiritCalib(peer_data, calib_width=24, show_pbar=False).run()

    def filled(weight: float) -> Tensor:
        return grappa(data, plane, calibration, regularisation=weight)

    def solved(weight: float, count: int) -> Tensor:
        return sense(data, plane, maps, regularisation=weight, iterations=count, tolerance=0)

    # sigpy's calibration of a volume decomposes a matrix of 7000 x 7000: minutes, and not run here
    calibrating = interleaved(lambda: espirit(block, shape), peer_calibration) if squeeze else None
    grid = [(nrmse((maps.conj() * ifft(filled(w), AXES)).sum(0), truth), w) for w in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)]
    error, ours_weight = min(grid)
    times = interleaved(lambda: filled(ours_weight), peer)
    peer_setting = f"{weight:g}, {count} its"
    _row(name, "GRAPPA", error, f"{ours_weight:g}", peer_error, peer_setting, *times)
    if calibrating:
        _road(times, (0, calibrating[1]))
    error, ours_weight, ours_count = min((nrmse(solved(w, n), truth), w, n) for w in LAMBDAS for n in counts)
    times = interleaved(lambda: solved(ours_weight, ours_count), peer)
    _row(name, "SENSE", error, f"{ours_weight:g}, {ours_count} its", peer_error, peer_setting, *times)
    if calibrating:
        _road(times, calibrating)
    _defaults(data, plane, maps, filled(1e-3), kspace, truth)


def _road(solver: Times, calibration: tuple[float, ...]) -> None:
    ours, peer = solver[0] + calibration[0], solver[1] + calibration[1]
    print(f"{'':26}{'  whole road':59}{1e3 * ours:8.1f} {1e3 * peer:8.1f}  x{peer / ours:5.1f}", flush=True)


def _defaults(data: Tensor, plane: Tensor, maps: Tensor, filled: Tensor, kspace: Tensor, truth: Tensor) -> None:
    """Print errors at default settings, of GRAPPA also between root-sum-of-squares images."""
    images = [ifft(one, AXES) for one in (filled, kspace)]
    magnitude, full = (image.abs().square().sum(0).sqrt() for image in images)
    print(
        f"{'':26}at defaults: SENSE {nrmse(sense(data, plane, maps), truth):.4f}, "
        f"GRAPPA {nrmse((maps.conj() * images[0]).sum(0), truth):.4f} (sum of squares {nrmse(magnitude, full):.4f})"
    )


def sparse(name: str, kspace: Tensor, mask: np.ndarray, weight: float = 1e-3) -> None:
    """Print objective and time of both sparse methods at 50 iterations beside sigpy's Apps."""
    plane = torch.from_numpy(mask)
    data = kspace * plane[..., None]
    maps = espirit(kspace[:, :, 20:44, 20:44], tuple(kspace.shape[1:]), crop=0.01)
    kept, sensitivities = data[:, 0].numpy().copy(), maps[:, 0].numpy().copy()
    absolute = weight * float((maps.conj() * ifft(data, AXES)).sum(0).abs().max())
    model = sigpy.mri.linop.Sense(sensitivities, weights=(np.abs(kept).sum(0) > 0).astype(np.float32))
    apps = sigpy.mri.app.L1WaveletRecon, sigpy.mri.app.TotalVariationRecon
    transforms = sigpy.linop.Wavelet(kept.shape[1:]), sigpy.linop.FiniteDifference(kept.shape[1:])
    for label, method, app, transform in zip(
        ("wavelet", "TV"), (l1_wavelet, total_variation), apps, transforms, strict=True
    ):

        def ours(method: Callable[..., Tensor] = method) -> np.ndarray:
            return method(data, plane, maps, regularisation=weight, iterations=50, tolerance=0)[0].numpy()

        def peer(app: Callable[..., sigpy.app.App] = app) -> np.ndarray:
            return app(kept, sensitivities, absolute, max_iter=50, show_pbar=False).run()

        values = [
            0.5 * float(np.linalg.norm(model(x) - kept) ** 2) + absolute * float(np.abs(transform(x)).sum())
            for x in (ours(), peer())
        ]
        _row(name, label, values[0], f"{weight:g}, 50 its", values[1], f"{weight:g}, 50 its", *interleaved(ours, peer))


def _row(case: str, method: str, a: float, how: str, b: float, peer_how: str, t: float, u: float, ratio: float) -> None:
    print(
        f"{case:26}{method:8}{a:9.4g} {how:16}{b:9.4g} {peer_how:14} {1e3 * t:8.1f} {1e3 * u:8.1f}  x{ratio:5.1f}",
        flush=True,
    )


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as sigpy's FFTs, and steady on a busy machine
    try:
        _tables()
    finally:
        torch.set_num_threads(threads)


def _tables() -> None:
    print(f"{'case':26}{'method':8}{'ours':>9} {'lambda':16}{'sigpy':>9} {'lambda':14} {'ms':>8} {'ms':>8}  faster")
    print("NRMSE to the full data combined with the same maps (sparse: objective), best settings of each")
    full = spin_echo()
    for rate, lines in ((2, 24), (3, 24), (3, 16)):
        mask = regular_mask((1, 64), (1, rate), calibration=(1, lines))
        parallel(f"spin echo R={rate}, {lines} lines", full, mask, tuple(range(4, 31)))
    lines = np.random.default_rng(0).random((1, 64)) < 0.25
    lines[:, 24:40] = True
    sparse("spin echo, random lines", full, lines)
    full = volume()
    for shift in (0, 1):
        mask = regular_mask((32, 48), (2, 2), caipi_shift=shift, calibration=(24, 24))
        parallel(f"volume 2x2, shift {shift}", full, mask, (5, 6, 7, 8, 10, 12))


if __name__ == "__main__":
    main()
