from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import MismatchError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.reconstruct import reconstruct
from tests.synthetic import FOV, cartesian_positions, coil_maps, ellipses, nrmse, scan, signal

SHAPE = (1, 48, 48)
DWELL = 5e-6


def train(delay: float, phase: float, *, coils: int = 2, blips: bool = True, noise: float = 0.0) -> RawData:
    """An EPI train whose gradients lag by `delay` [s] and whose reversed lines turn by `phase` [rad]."""
    nominal = cartesian_positions(SHAPE)
    nominal[1::2] = nominal[1::2, ::-1]
    if not blips:
        nominal[..., 1] = 0
    played = nominal.copy()
    step = np.where(np.arange(len(nominal)) % 2, -1, 1)[:, None] / FOV[0]
    played[..., 0] -= delay / DWELL * step
    samples = signal(ellipses(SHAPE), coil_maps(coils, SHAPE), played, FOV)
    samples[1::2] *= np.exp(1j * phase)
    rng = np.random.default_rng(1)
    samples += noise * (rng.standard_normal(samples.shape) + 1j * rng.standard_normal(samples.shape))
    return scan(samples, nominal, SHAPE, dwell=DWELL)


@pytest.mark.parametrize("delay", [-4e-6, 0.0, 2.5e-6])
@pytest.mark.parametrize("phase", [-0.9, 0.0, 0.6])
@pytest.mark.parametrize("referenced", [True, False])
def test_delay_and_phase_are_found_and_undone(delay: float, phase: float, referenced: bool) -> None:
    reference = train(delay, phase, blips=False) if referenced else None
    images = reconstruct(train(delay, phase, noise=2e-4), reference=reference)
    ideal = reconstruct(train(0.0, 0.0, noise=2e-4), reference=train(0.0, 0.0, blips=False))
    assert images.quality["gradient_delay"] == pytest.approx(delay, abs=2e-8)
    assert images.quality["polarity_phase"] == pytest.approx(phase, abs=2e-2)
    assert nrmse(np.abs(images.values[0]), np.abs(ideal.values[0])) < 0.02


def test_navigators_within_the_scan_serve_as_the_reference() -> None:
    image, lines = train(2e-6, 0.4), train(2e-6, 0.4, blips=False)
    navigator = np.arange(96) < 3
    first, second = lines.groups[0], image.groups[0]
    samples = np.concatenate([first.samples[:48], second.samples])
    positions = np.concatenate([first.trajectory.positions(), second.trajectory.positions()])
    keep = np.r_[0:3, 48:96]
    raw = scan(samples[keep], positions[keep], SHAPE, flags={"navigator": navigator[:51], "imaging": ~navigator[:51]})
    found = reconstruct(raw).quality
    assert found["ghost_reference"] == 1.0
    assert found["gradient_delay"] == pytest.approx(2e-6, abs=2e-8)


def test_a_reference_of_another_scan_is_refused() -> None:
    with pytest.raises(MismatchError, match="coils"):
        reconstruct(train(0.0, 0.0), reference=train(0.0, 0.0, coils=1, blips=False))


def test_a_reference_for_a_scan_without_reversed_lines_is_refused() -> None:
    positions = cartesian_positions(SHAPE)
    raw = scan(signal(ellipses(SHAPE), coil_maps(2, SHAPE), positions, FOV), positions, SHAPE)
    with pytest.raises(MismatchError, match="reversed lines"):
        reconstruct(raw, reference=train(0.0, 0.0, blips=False))
