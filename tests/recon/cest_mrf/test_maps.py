"""CEST-MRF images to maps: what was put in comes out, with known maps, and mistakes are named."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.io

from pulsetwin.errors import FileError, MismatchError, ProtocolError, ShapeError
from pulsetwin.recon.cest_mrf.grid import Cartesian
from pulsetwin.recon.cest_mrf.maps import How, map_cest
from pulsetwin.recon.cest_mrf.mat_images import read_mat
from pulsetwin.recon.cest_mrf.problem import predicted, problem_of
from pulsetwin.recon.cest_mrf.study import PhCalibration
from pulsetwin.sim.bloch_mcconnell.entries import play_entries
from pulsetwin.volume import Images, Volume

SHAPE = (2, 3, 4)
AFFINE = np.diag([2.0, 2, 5, 1])
NAMES = ("t1", "t2", "amine.exchange_rate", "amine.fraction")


@pytest.fixture(scope="module")
def truth(study):
    rows = np.random.default_rng(0).integers(len(study.grid), size=math.prod(SHAPE))
    return dict(zip(NAMES, study.grid.rows(rows).T, strict=True))


@pytest.fixture(scope="module")
def images(seq, study, truth):
    problem = problem_of(seq, study.model, **study.measurement)
    table = np.stack(list(truth.values()), 1)
    played = np.abs(play_entries(problem.program, problem.model, NAMES, table, observe="transverse"))
    return of(4000 * played)


def of(signals: np.ndarray) -> Images:
    return Images(signals.T.reshape(-1, *SHAPE), AFFINE, ({},) * signals.shape[1])


def volume(values, affine=AFFINE) -> Volume:
    return Volume(np.reshape(values, SHAPE), "s", affine, np.ones(SHAPE, bool))


def test_what_was_put_in_comes_out_in_the_units_of_maps(images, seq, study, truth):
    maps = map_cest(images, seq, study, {}, How())
    fraction, rate = truth["amine.fraction"].reshape(SHAPE), truth["amine.exchange_rate"].reshape(SHAPE)
    expected = {
        "amine_fraction": (fraction, ""), "amine_concentration": (fraction * 110e3 / 3, "mM"),
        "amine_exchange_rate": (rate, "1/s"), "amine_pH": (4 + np.log10(rate / 100), "pH"),
        "water_T1": (truth["t1"].reshape(SHAPE), "s"), "water_T2": (truth["t2"].reshape(SHAPE), "s"),
        "residual": (np.zeros(SHAPE), ""), "R2": (np.ones(SHAPE), ""),
    }  # fmt: skip
    assert set(maps.volumes) == set(expected)
    for name, (values, unit) in expected.items():
        np.testing.assert_allclose(maps[name].values, values, rtol=1e-6, atol=1e-9, err_msg=name)
        assert maps[name].unit == unit


def test_known_maps_constrain_and_are_not_told_again(images, seq, study, truth):
    wrong = {"t1": volume(np.full(24, 2.9)), "t2": volume(truth["t2"] + 0.1)}
    maps = map_cest(images, seq, study, wrong, How())
    assert not {"water_T1", "water_T2"} & set(maps.volumes)
    right = truth["t1"].reshape(SHAPE) == 2.9
    np.testing.assert_array_equal(maps["residual"].values < 1e-9, right)
    np.testing.assert_allclose(
        maps["amine_fraction"].values[right], truth["amine.fraction"].reshape(SHAPE)[right], rtol=1e-6
    )


def test_voxels_without_a_known_value_or_beyond_the_grid_are_not_valid(images, seq, study, truth):
    t1 = truth["t1"].copy()
    t1[:3] = 0, np.nan, 5.0
    known = Volume(t1.reshape(SHAPE), "s", AFFINE, np.isfinite(t1.reshape(SHAPE)))
    maps = map_cest(images, seq, study, {"t1": known}, How())
    assert not maps["R2"].valid.ravel()[:3].any()
    assert maps["R2"].valid.sum() == 21
    assert any("3 voxels with signal are not mapped" in one for one in maps.warnings)


def test_a_mask_and_a_file_of_the_dictionary(tmp_path, images, seq, study, truth):
    mask = np.zeros(SHAPE, bool)
    mask[1, 1] = True
    how = How(dictionary=tmp_path / "one.h5")
    grid = replace(study.grid, axes={**study.grid.axes, "t1": np.array([2.5, 2.9])})
    small = replace(study, grid=grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulsetwin.sim.shards.ProcessPoolExecutor", lambda *_: _threads())
        first = map_cest(images, seq, small, {}, how, mask=mask)
    again = map_cest(images, seq, small, {}, how, mask=mask)
    np.testing.assert_array_equal(first["R2"].valid, mask)
    np.testing.assert_array_equal(first["amine_fraction"].values, again["amine_fraction"].values)


def _threads():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1)


def test_voxelwise_has_deviations(images, seq, study, truth):
    noisy = images.values * (1 + 1e-3 * np.random.default_rng(1).standard_normal(images.values.shape))
    known = {"t1": volume(truth["t1"]), "t2": volume(truth["t2"])}
    maps = map_cest(replace(images, values=noisy), seq, study, known, How("voxelwise"))
    truths = {
        "amine_fraction": truth["amine.fraction"], "amine_concentration": truth["amine.fraction"] * 110e3 / 3,
        "amine_exchange_rate": truth["amine.exchange_rate"],
        "amine_pH": 4 + np.log10(truth["amine.exchange_rate"] / 100),
    }  # fmt: skip
    for name, values in truths.items():
        score = (maps[name].values - values.reshape(SHAPE)) / maps[f"{name}_std"].values
        assert np.median(np.abs(score)) < 2, name
        assert (np.abs(score) < 6).all(), name


def test_m0_first(images, seq, study):
    first = replace(study, measurement={**study.measurement, "normalisation": "first"})
    maps = map_cest(images, seq, first, {}, How())
    assert (maps["R2"].values > 1 - 1e-6).all()


def test_complex_images_give_the_maps_of_their_magnitudes(images, seq, study):
    turned = replace(images, values=images.values * np.exp(0.7j))
    found, expected = (map_cest(one, seq, study, {}, How()) for one in (turned, images))
    np.testing.assert_allclose(found["amine_fraction"].values, expected["amine_fraction"].values, rtol=1e-9)


def with_measurement(study, **words):
    return replace(study, measurement={**study.measurement, **words})


def test_mistakes_are_named(images, seq, study):
    def told(error, message, images=images, study=study, known=None, how=None, mask=None):
        with pytest.raises(error, match=message):
            map_cest(images, seq, study, known or {}, how or How(), mask=mask)

    told(MismatchError, "there are 29 images, but .* measures 30", of(images.values[:29].reshape(29, -1).T))
    told(MismatchError, "b0 is 3 T", study=replace(study, model=replace(study.model, b0=3.0)))
    told(MismatchError, "divide them by M0", study=with_measurement(study, normalisation="none"))
    bad = images.values.copy()
    bad[0] *= 1e-4
    told(
        MismatchError, "divide them by M0", replace(images, values=bad), with_measurement(study, normalisation="first")
    )
    bad[0] = 0
    told(ProtocolError, "M0 is 0", replace(images, values=bad), with_measurement(study, normalisation="first"))
    told(ProtocolError, "empty or not finite", replace(images, values=np.full_like(images.values, np.nan)))
    told(ProtocolError, "in s, not in ms", known={"t1": volume(np.full(24, 2900.0))})
    told(ProtocolError, "resample it to the grid", known={"t1": volume(np.full(24, 2.9), np.diag([3.0, 2, 5, 1]))})
    hertz = {"b0_shift": volume(np.linspace(5, 40, 24))}
    for how in (How(), How("voxelwise")):
        told(ProtocolError, "b0_shift is given, but|in ppm, not in Hz", known=hertz, how=how)
    told(ProtocolError, "a map of t3 cannot be given", known={"t3": volume(np.ones(24))})
    one = replace(study, grid=Cartesian({"t1": np.array([2.8])}))
    told(ProtocolError, "nothing is sought", study=one, how=How("nbmf"))
    told(ShapeError, r"the mask is \(3, 4\)", mask=np.ones((3, 4), bool))
    told(ProtocolError, "b1 is given, but the dictionary does not vary it", known={"b1": volume(np.ones(24))})
    told(ProtocolError, "tells no grid", study=replace(study, grid=None))
    for message, words in (
        ("method = 'best'", ("best",)), ("voxelwise uses no dictionary", ("voxelwise", "one.h5")),
        ("threads = 0", ("dictionary", None, 0)),
    ):  # fmt: skip
        with pytest.raises(ProtocolError, match=message):
            How(*words)
    told(ProtocolError, "no voxel of the mask", mask=np.zeros(SHAPE, bool))


def test_what_a_known_map_forbids_is_told_before_the_dictionary_is_made(images, seq, study, monkeypatch):
    monkeypatch.setattr("pulsetwin.recon.cest_mrf.maps.computed", lambda *_: pytest.fail("made"))
    with pytest.raises(ProtocolError, match="b1 is given, but the dictionary does not vary it"):
        map_cest(images, seq, study, {"b1": volume(np.ones(24))}, How())


def test_what_cannot_be_told_is_not_valid(seq, study, truth):
    """The exchange rate of a pool that is not there has no deviation, and one below the offset no pH."""
    none = {**truth, "amine.fraction": np.where(np.arange(24) < 2, 0, truth["amine.fraction"])}
    problem = problem_of(seq, study.model, **study.measurement)
    signals = predicted(problem, NAMES, np.stack(list(none.values()), 1))
    axes = {"amine.exchange_rate": np.array([50.0, 1400]), "amine.fraction": np.array([0, 200 * 3 / 110e3])}
    solute = replace(study.solutes["amine"], ph=PhCalibration(100.0, 4.0, offset=125.0))
    other = replace(study, grid=Cartesian(axes), solutes={"amine": solute})
    known = {name: volume(truth[name]) for name in ("t1", "t2")}
    maps = map_cest(of(signals), seq, other, known, How("voxelwise"))
    assert maps["amine_fraction"].valid.all()
    empty = np.arange(24).reshape(SHAPE) < 2
    np.testing.assert_array_equal(maps["amine_exchange_rate_std"].valid, ~empty)
    slow = truth["amine.exchange_rate"].reshape(SHAPE) < 125
    assert slow[~empty].any()
    np.testing.assert_array_equal(maps["amine_pH"].valid[~empty], ~slow[~empty])


def test_mat_files(tmp_path, images):
    path = tmp_path / "images.mat"
    scipy.io.savemat(path, {"data": images.values[:, 0].astype(np.uint16)})
    found = read_mat(path)
    np.testing.assert_array_equal(found.values[:, 0], np.trunc(images.values[:, 0]))
    scipy.io.savemat(path, {"data": images.values, "more": images.values})
    with pytest.raises(FileError, match="holds 2 arrays"):
        read_mat(path)
    scipy.io.savemat(path, {"data": images.values}, do_compression=True)
    whole = path.read_bytes()
    for at in (150, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(FileError, match="cannot be read as a MATLAB file"):
            read_mat(path)
    path.write_text("no file of MATLAB")
    with pytest.raises(FileError, match="cannot be read as a MATLAB file"):
        read_mat(path)


def test_the_longitudinal_magnetisation_keeps_its_sign(seq, study, truth):
    signed = with_measurement(study, observe="z", normalisation="none")
    problem = problem_of(seq, study.model, **signed.measurement)
    signals = predicted(problem, NAMES, np.stack(list(truth.values()), 1))
    signals[:, 7] *= -1  # which no entry of the grid has
    for phase in (1, np.exp(0.7j)):
        maps = map_cest(of(phase * signals), seq, signed, {}, How())
        changed = 2 * np.abs(signals[:, 7]) / math.sqrt(signals.shape[1])
        np.testing.assert_allclose(maps["residual"].values.ravel(), changed, rtol=0.1)
