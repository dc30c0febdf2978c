from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.reconstruct import reconstruct
from tests.synthetic import FOV, cartesian_positions, coil_maps, ellipses, nrmse, scan, signal


def white(coils: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return (rng.standard_normal((coils, 8000)) + 1j * rng.standard_normal((coils, 8000))) / np.sqrt(2)


def full_scan(shape: tuple[int, int, int], coils: int = 1, oversampling: int = 1, **kwargs) -> RawData:
    positions = cartesian_positions(shape, oversampling=oversampling)
    maps = coil_maps(coils, shape) if coils > 1 else np.ones((1, *shape))
    kwargs.setdefault("noise", white(coils))
    return scan(signal(ellipses(shape), maps, positions, FOV), positions, shape, **kwargs)


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 31, 45), (6, 20, 24), (5, 21, 25)])
@pytest.mark.parametrize("oversampling", [1, 2])
def test_a_full_scan_gives_the_object_back(shape: tuple[int, int, int], oversampling: int) -> None:
    images = reconstruct(full_scan(shape, oversampling=oversampling), precision="double")
    assert images.values.shape == (1, *shape)
    assert nrmse(images.values[0], ellipses(shape)) < 1e-6


def test_coils_are_combined_to_the_object_times_a_smooth_factor() -> None:
    shape = (1, 48, 48)
    image = np.abs(reconstruct(full_scan(shape, coils=6)).values[0])
    sensitivity = np.sqrt((np.abs(coil_maps(6, shape)) ** 2).sum(0))
    assert nrmse(image, np.abs(ellipses(shape)) * sensitivity) < 0.02


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_data_changes_nothing_else(scale: float) -> None:
    raw = full_scan((1, 32, 32), coils=4)
    group = replace(raw.groups[0], samples=raw.groups[0].samples * np.float32(scale))
    scaled = replace(raw, groups=(group,))
    one, other = (np.abs(reconstruct(data).values) for data in (raw, scaled))
    np.testing.assert_allclose(other / other.max(), one / one.max(), atol=1e-4)


def test_noise_std_is_the_noise_of_the_image() -> None:
    shape, coils = (1, 24, 24), 3
    rng = np.random.default_rng(5)
    mixing = np.array([[2.0, 0, 0], [0.5j, 1, 0], [0.3, -0.2j, 3]])

    def draw(*size: int) -> np.ndarray:
        return mixing @ (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)

    noise = draw(coils, 20000)
    clean = full_scan(shape, coils=coils, oversampling=2)
    loud = clean.groups[0].samples * 1e3
    repeats = []
    for _ in range(60):
        raw = scan(loud + draw(*loud.shape), clean.groups[0].trajectory.positions(), shape, noise=noise)
        repeats.append(reconstruct(raw))
    values = np.array([images.values[0] for images in repeats])
    inside = np.abs(ellipses(shape)) > 0
    ratio = values.real.std(axis=0)[inside].mean() / repeats[0].noise_std[inside].mean()
    assert ratio == pytest.approx(1, abs=0.05)


def test_averages_lower_the_noise_level_by_their_root() -> None:
    shape = (1, 16, 16)
    positions = np.concatenate([cartesian_positions(shape)] * 4)
    samples = signal(ellipses(shape), np.ones((1, *shape)), positions, FOV)
    noise = white(1)
    average = np.repeat(np.arange(4), 16)
    single = reconstruct(scan(samples[:16], positions[:16], shape, noise=noise))
    fourfold = reconstruct(scan(samples, positions, shape, noise=noise, labels={"AVG": average}))
    assert fourfold.noise_std.mean() == pytest.approx(single.noise_std.mean() / 2)
    np.testing.assert_allclose(fourfold.values, single.values, atol=1e-4 * np.abs(single.values).max())


def test_contrasts_and_slices_come_apart() -> None:
    shape, slices, echoes = (1, 16, 16), 3, 2
    positions = cartesian_positions(shape)
    image = ellipses(shape)
    samples = signal(image, np.ones((1, *shape)), positions, FOV)
    weights = [(s, e, 1 + s + 10 * e) for e in range(echoes) for s in range(slices)]
    raw = scan(
        np.concatenate([w * samples for _, _, w in weights]),
        np.concatenate([positions] * len(weights)),
        shape,
        labels={"SLC": np.repeat([s for s, _, _ in weights], 16), "ECO": np.repeat([e for _, e, _ in weights], 16)},
    )
    images = reconstruct(raw)
    assert images.values.shape == (2, 3, 16, 16)
    ratio = [[abs(np.vdot(image[0], images.values[e, s])) for s in range(slices)] for e in range(echoes)]
    np.testing.assert_allclose(np.array(ratio) / ratio[0][0], [[1, 2, 3], [11, 12, 13]], rtol=1e-4)


@pytest.mark.parametrize("method", ["auto", "grappa", "sense", "wavelet"])
@pytest.mark.parametrize("separate", [False, True])
def test_missing_lines_are_filled_in(method: str, separate: bool) -> None:
    raw = full_scan((1, 48, 48), coils=8)
    line = np.arange(48)
    centre = np.abs(line - 24) < 10
    if separate:
        flags = {"imaging": np.r_[line % 2 == 0, line < 0], "reference": np.r_[line < 0, centre]}
        group = raw.groups[0].select(np.r_[line, line])
        keep = np.r_[line % 2 == 0, centre]
        group = replace(group, flags=flags).select(keep)
    else:
        group = raw.groups[0].select((line % 2 == 0) | centre)
    images = reconstruct(replace(raw, groups=(group,)), method=method)
    error = nrmse(np.abs(images.values[0]), np.abs(reconstruct(raw).values[0]))
    assert error < (0.07 if method == "wavelet" else 0.05)  # soft thresholding takes a little signal
    if method == "auto":
        assert any("CG-SENSE" in warning for warning in images.warnings)


def test_a_side_that_was_left_out_is_filled_in() -> None:
    raw = full_scan((1, 48, 48), coils=4)
    part = replace(raw, groups=(raw.groups[0].select(np.arange(48) >= 14),))
    full = np.abs(reconstruct(raw).values[0])
    assert nrmse(np.abs(reconstruct(part).values[0]), full) < 0.5 * nrmse(
        np.abs(reconstruct(part, method="fft").values[0]), full
    )


def test_missing_lines_without_a_calibrated_centre_are_refused() -> None:
    raw = full_scan((1, 48, 48), coils=4)
    thin = replace(raw, groups=(raw.groups[0].select(np.arange(48) % 3 == 0),))
    with pytest.raises(ProtocolError, match="reference lines"):
        reconstruct(thin)


def test_the_memory_budget_compresses_coils_or_says_what_is_needed() -> None:
    raw = full_scan((1, 64, 64), coils=8)
    with pytest.raises(ProtocolError, match="--memory"):
        reconstruct(raw, memory=600 << 20)
    images = reconstruct(raw, memory=(600 << 20) + 5 * 3 * 64 * 64 * 8)
    assert images.quality["coils"] == 5
    assert any("compressed" in warning for warning in images.warnings)


def test_settings_that_do_not_fit_are_refused() -> None:
    raw = full_scan((1, 16, 16))
    for setting, message in (({"method": "magic"}, "magic"), ({"precision": "half"}, "half"), ({"coils": 9}, "9")):
        with pytest.raises(ProtocolError, match=message):
            reconstruct(raw, **setting)
    with pytest.raises(ProtocolError, match="several coils"):
        reconstruct(raw, method="sense")


def test_a_scan_without_imaging_lines_or_trajectory_is_refused() -> None:
    raw = full_scan((1, 16, 16), flags={"imaging": np.zeros(16, bool), "noise": np.ones(16, bool)})
    with pytest.raises(MismatchError, match="no imaging"):
        reconstruct(raw)
    group = raw.groups[0]
    bare = replace(raw, groups=(replace(group, trajectory=None, flags={}),))
    with pytest.raises(MismatchError, match="--seq"):
        reconstruct(bare)
