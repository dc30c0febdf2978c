"""Images of RASER scans by each method: where the object lies, what is told beside it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.export.raser_figures import planned
from pulsetwin.rawdata import Geometry, RawData
from pulsetwin.recon.raser import methods
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.features import features
from pulsetwin.recon.raser.inversion import Inversion
from pulsetwin.recon.raser.methods import correlation, image_of_scan
from pulsetwin.recon.raser.network import new_networks
from pulsetwin.recon.raser.network_file import save_networks
from pulsetwin.recon.raser.purpose import Purpose, purpose_of
from pulsetwin.recon.raser.scan import projections_of
from pulsetwin.sim.phantoms import tube
from pulsetwin.sim.raser.scan import acquire_raser
from pulsetwin.volume import Images, affine_ras
from tests.recon.raser.test_scan import FOV, sequence


@pytest.fixture(scope="module")
def raw() -> RawData:
    return acquire_raser(sequence(), tube((1, 16, 16), FOV), snr=1000.0)


@pytest.fixture(scope="module")
def path(raw, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "a.safetensors"
    save_networks(path, new_networks(purpose_of(raw.definitions)), {})
    return path


def off_centre() -> tuple[RawData, np.ndarray, np.ndarray]:
    """Return a scan of a tube of which a corner is filled, its density and affine."""
    phantom = tube((1, 64, 64), FOV)
    density = phantom.proton_density.clone()
    density[..., 36:48, 14:26] += 1.0
    phantom = replace(phantom, proton_density=density)
    raw = acquire_raser(sequence(angles=16), phantom, snr=1000.0)
    where = Geometry(FOV, (64, 64, 1), np.eye(3), np.zeros((1, 3)))
    return raw, density.sum(0).numpy()[None], affine_ras(where, (64, 64, 1))


def middle(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the centre of gravity [mm], x and y."""
    z, y, x = np.meshgrid(*map(np.arange, values.shape), indexing="ij")
    weights = values.ravel() / values.sum()
    return (affine @ [weights @ x.ravel(), weights @ y.ravel(), weights @ z.ravel(), 1])[:2]


@pytest.mark.slow
def test_an_object_is_seen_where_it_is_by_inversion():
    """Centre of gravity of the simulated density, to a tenth of a voxel: no mirror, no shift by half a voxel."""
    raw, density, affine = off_centre()
    images = image_of_scan(raw, "inversion")
    assert 0.8 < images.quality["chi_squared"] < 1.2
    found = middle(np.abs(images.values[0]), images.affine)
    assert np.abs(found - middle(density, affine)).max() < 0.1 * 1e3 * FOV[0] / 16


def test_an_object_is_seen_on_its_side_by_raw_spectra():
    """Distorted as it is: nearer to where the object is than to its mirror images."""
    raw, density, affine = off_centre()
    images = image_of_scan(raw, "fbp")
    values = np.maximum(images.values[0].real, 0)
    wanted = middle(density, affine)
    assert np.abs(wanted).min() > 0.03
    assert (middle(values**2, images.affine) * wanted > 0).all()
    assert images.warnings


def test_networks_tell_an_image_and_a_sinogram(raw, path):
    images = image_of_scan(raw, "cnn", networks=path)
    assert images.values.shape == (1, 1, 16, 16)
    assert images.values.real.max() == 1
    assert images.extras["sinogram"].shape == images.extras["spectra"].shape
    assert images.noise_std is None
    assert 0.2 < images.quality["kappa"] < 5


def test_a_gain_changes_nothing_whether_told_or_given(raw, path):
    (group,) = raw.groups
    louder = replace(raw, groups=(replace(group, samples=300 * np.asarray(group.samples[:])),))
    one, other = (image_of_scan(scan, "cnn", networks=path) for scan in (raw, louder))
    assert np.abs(one.values - other.values).max() < 1e-3
    assert abs(300**2 * other.quality["kappa"] / one.quality["kappa"] - 1) < 1e-2
    given = image_of_scan(louder, "cnn", networks=path, gain=300 * one.quality["kappa"] ** -0.5)
    assert np.abs(one.values - given.values).max() < 1e-4


@pytest.mark.slow
def test_a_hybrid_begins_with_the_networks_and_tells_what_an_inversion_does(raw, path):
    told = []
    images = image_of_scan(raw, "hybrid", networks=path, progress=lambda done, total, what: told.append(total))
    both = image_of_scan(raw, "inversion", progress=lambda done, total, what: told.append(-total))
    assert max(told) < -min(told)  # fewer iterations at most
    for name in ("chi_squared", "T2star", "kappa_error", "residual_correlation"):
        assert abs(images.quality[name] - both.quality[name]) < 0.3 * abs(both.quality[name]) + 0.05, name
    assert images.noise_std.shape == (1, 16, 16)


def test_networks_see_the_pixels_of_the_scan(raw, path, monkeypatch):
    """Half of T2* with pixels twice as wide is the same relative to the line; the image is on the scan's grid."""
    seen = []
    monkeypatch.setattr(methods, "features", lambda *given: seen.append(given[3]) or features(*given))
    wider = replace(raw, definitions={**raw.definitions, "RaserGradient": 2 * raw.definitions["RaserGradient"]})
    image_of_scan(wider, "cnn", networks=path, t2=0.35, gain=1.0)
    assert seen == [projections_of(wider).stated.bandwidth]
    with pytest.raises(MismatchError, match=r"T2\* 0.7 s, .* and 0.8 s"):
        image_of_scan(raw, "cnn", networks=path, t2=0.8)


def test_what_is_taken_for_the_sample_is_used(raw, monkeypatch):
    """By the calibration and by the inversion."""
    seen = []

    def invert(*given, parameters, **settings):
        seen.append(parameters)
        raise ProtocolError("enough")

    monkeypatch.setattr(methods, "invert", invert)
    for times in ({"t1": 4.0, "t2": 0.6}, {}):
        with pytest.raises(ProtocolError, match="enough"):
            image_of_scan(raw, "inversion", **times)
    assert seen[0][:2] == (4.0, 0.6)
    assert seen[1][:2] == (5.0, 0.7)
    assert abs(seen[0].kappa / seen[1].kappa * (0.7 / 0.6) ** 2 - 1) < 0.05  # kappa follows the square of T2*
    for name in ("t1", "t2"):
        with pytest.raises(ProtocolError, match="above 0"):
            image_of_scan(raw, "inversion", **{name: 0.0})


def test_doubts_of_an_inversion_are_told(raw):
    """Nothing of a sure one; parameters that the data hardly tell or that moved far, wide pixels, fits cut short."""
    before = Parameters(5.0, 0.7, 1.0)
    rng = np.random.default_rng(0)
    white = rng.standard_normal((10, 401)) + 1j * rng.standard_normal((10, 401))
    sure = Inversion(*np.zeros((4, 1, 1)), before, Parameters(0.1, 0.01, 0.03), 1.0, white, settled=True)
    assert list(methods._doubts(sure, before, 0.1223)) == []
    (wide,) = methods._doubts(sure, before, 0.2)
    assert "pixels are wide" in wide
    (far,) = methods._doubts(replace(sure, parameters=Parameters(5.0, 0.8, 1.0)), before, 0.1223)
    assert "T2* or kappa is far" in far
    unsure = replace(sure, errors=Parameters(0.95, 0.01, 0.29), settled=False, chi_squared=float("nan"))
    told = list(methods._doubts(unsure, before, 0.1223))
    for words in ("chi squared is nan", "not settled", "hardly tell T1:", "hardly tell kappa:"):
        assert sum(words in one for one in told) == 1, words
    assert len(told) == 4
    (words,) = methods._doubts(replace(sure, settled=False, pump_decay=(1.0, 0.1)), before, 0.1223)
    assert words.startswith("do not trust")
    assert "fade" in words
    smeared = white[:, 1:] + 0.1 * white[:, :-1]  # a correlation of 0.1: 0.077 is told of 4000 samples
    (words,) = methods._doubts(replace(sure, residual=smeared), before, 0.1223)
    assert "not white (correlation of neighbours 0." in words
    assert image_of_scan(raw, "inversion").warnings == (wide,)


def test_what_is_pumped_is_told(raw, monkeypatch):
    """In a summary as the mean of all projections, in the extras and as a figure by angle and mode."""
    shape = len(projections_of(raw).signal), 23
    parameters = Parameters(5.0, 0.7, 1.0)
    found = Inversion(
        np.ones((16, 16)), np.ones((16, 16)), np.ones(shape), np.ones(shape[0]), parameters, parameters, 1.0,
        np.ones((shape[0], 60), complex), True, pump_decay=(0.9, 0.1), pumped=np.full(shape, 0.1),
    )  # fmt: skip
    monkeypatch.setattr(methods, "invert", lambda *given, **settings: found)
    images = image_of_scan(raw, "inversion", gain=1.0, pump_decay=1.0)
    assert abs(images.quality["pumped"] - 2.3) < 1e-9
    assert images.quality["pump_decay"] == 0.9
    assert np.array_equal(images.extras["pumped"], found.pumped[None])
    (draw,) = [one[-1] for one in planned(images, images.extras) if one[0] == "pumped"]
    assert np.allclose(draw().axes[0].images[0].get_array(), 0.1)


def test_a_projection_that_is_no_more_than_noise_is_left_out_and_told(raw, monkeypatch):
    """It is not given to the inversion, stays in its place in the sinogram, and a warning names it."""
    seen = []

    def invert(signal, dwell, angles, **settings):
        seen.append((signal.shape, angles))
        parameters = Parameters(5.0, 0.7, 1.0)
        return Inversion(
            np.ones((16, 16)), np.ones((16, 16)), np.ones((7, 23)), np.ones(7), parameters, parameters, 1.0,
            np.ones((7, 60), complex), True,
        )  # fmt: skip

    monkeypatch.setattr(methods, "invert", invert)
    whole, rng = raw.groups[0].samples[:].copy(), np.random.default_rng(0)
    line = raw.groups[0].label("LIN")
    level = 1e-3 * np.abs(whole).max()
    silenced = whole[line == 2]
    whole[line == 2] = level * (rng.standard_normal(silenced.shape) + 1j * rng.standard_normal(silenced.shape))
    quiet = replace(raw, groups=(replace(raw.groups[0], samples=whole),))
    images = image_of_scan(quiet, "inversion", gain=1.0)
    angles = projections_of(raw).stated.angles
    assert seen[0][0][0] == 7
    assert np.array_equal(seen[0][1], np.delete(angles, 2))
    assert not images.extras["sinogram"][0, 2].any()
    assert (np.delete(images.extras["sinogram"][0], 2, 0) == 1).all()
    assert "projection 2 (of 8" in images.warnings[0]


def test_correlation_of_white_noise_is_none():
    rng = np.random.default_rng(0)
    white = rng.standard_normal((20, 500)) + 1j * rng.standard_normal((20, 500))
    found = correlation(white)
    assert found[0] == 1
    assert np.abs(found[1:]).max() < 0.04
    assert abs(correlation(white[:, 1:] + white[:, :-1])[1] - 0.5) < 0.03


def test_networks_for_another_scan_are_refused(raw, path):
    other = acquire_raser(sequence(angles=6), tube((1, 16, 16), FOV))
    with pytest.raises(MismatchError, match="train some"):
        image_of_scan(other, "cnn", networks=path)
    turned = replace(raw, definitions={**raw.definitions, "RaserAngles": 0.1 + np.pi * np.arange(8) / 8})
    with pytest.raises(MismatchError, match="even"):
        image_of_scan(turned, "cnn", networks=path)
    with pytest.raises(MismatchError, match="order uniform"):
        purpose_of(turned.definitions)


def test_bad_settings_are_told(raw, tmp_path):
    with pytest.raises(ProtocolError, match="no method"):
        image_of_scan(raw, "fft")
    with pytest.raises(ProtocolError, match="gain"):
        image_of_scan(raw, "inversion", gain=-1.0)
    with pytest.raises(ProtocolError, match="over_threshold"):
        image_of_scan(raw, "inversion", over_threshold=float("nan"))
    with pytest.raises(ProtocolError, match="pumping"):
        image_of_scan(raw, "cnn", gain=1.0, pump_decay=1.0)
    for gain in (1e-200, 1e200):
        with pytest.raises(ProtocolError, match="gain"):
            image_of_scan(raw, "cnn", gain=gain)
    for times in ({"t2": 700.0}, {"t1": 5000.0}, {"t1": 0.3}):
        with pytest.raises(ProtocolError, match="give them in s"):
            image_of_scan(raw, "inversion", **times)
    with pytest.raises(ProtocolError, match="above 0"):
        Purpose(t2=-0.7)
    for purpose, words in (({"matrix": 4}, "pixels"), ({"angles": 0}, "one angle"), ({"t2": 700.0}, "in s")):
        with pytest.raises(ProtocolError, match=words):
            Purpose(**purpose)
    with pytest.raises(FileError, match="cannot be read"):
        image_of_scan(raw, "cnn", networks=tmp_path / "missing.safetensors")


def test_images_travel_as_others_do(raw):
    assert isinstance(image_of_scan(raw, "fbp"), Images)
