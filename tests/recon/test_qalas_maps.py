"""From QALAS volumes to maps: signs, B1 of another grid, noise, what is wrong with the input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.recon.qalas import map_qalas
from pulsetwin.recon.qalas.dictionary import Grid
from pulsetwin.recon.qalas.transmit_field import on_grid
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.volume import Images, Volume

TIMING = QalasTiming.preset("siemens", train_length=127)
SHAPE = (6, 10, 12)
AFFINE = np.array([[0.0, -2, 0, 12], [2, 0, 0, -10], [0, 0, 3, 5], [0, 0, 0, 1]])


def tissue() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "T1": rng.uniform(0.6, 1.6, SHAPE), "T2": rng.uniform(0.05, 0.12, SHAPE), "PD": rng.uniform(0.8, 1.2, SHAPE),
        "IE": rng.uniform(0.85, 0.95, SHAPE),
    }  # fmt: skip


TRUTH = tissue()


def field() -> np.ndarray:
    """A transmit field that is linear in the place, so that interpolation is exact."""
    z, y, x = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    place = np.stack((x, y, z, np.ones_like(x)), -1) @ AFFINE.T
    return 1 + place[..., :3] @ [0.01, -0.008, 0.006]


def images(**changes) -> Images:
    values = {name: torch.from_numpy(value) for name, value in TRUTH.items()}
    made = signals(
        TIMING, values["T1"], values["T2"], pd=values["PD"], ie=values["IE"], b1=torch.from_numpy(field())
    ).numpy()  # fmt: skip
    phase = np.exp(2j * np.random.default_rng(1).uniform(-np.pi, np.pi, SHAPE))
    scan = Images(np.moveaxis(made, -1, 0) * phase, AFFINE, tuple({"ECO": k} for k in range(5)))
    return dataclasses.replace(scan, **changes)


def worst(maps, mask=slice(None)) -> float:
    return max(float(np.abs(maps[name].values[mask] / TRUTH[name][mask] - 1).max()) for name in TRUTH)


@pytest.mark.parametrize("kind", ["complex", "real", "magnitude", "integer"])
def test_signs_and_scales(kind):
    scan = images()
    phased = scan.values / np.exp(1j * np.angle(scan.values[-1]))
    values = {
        "complex": scan.values, "real": phased.real, "magnitude": np.abs(phased),
        "integer": np.round(np.abs(phased) / np.abs(phased).max() * 2**30).astype(np.int32),
    }[kind]  # fmt: skip
    maps = map_qalas(dataclasses.replace(scan, values=values), TIMING, field())
    scale = 2**30 / np.abs(phased).max() if kind == "integer" else 1
    maps.volumes["PD"] = dataclasses.replace(maps["PD"], values=maps["PD"].values / scale)
    assert worst(maps) < 1e-5
    assert all(volume.valid.all() for volume in maps.volumes.values())
    assert maps["T1"].unit == maps["T2"].unit == "s"
    assert maps["residual"].values.max() < 1e-5 * scale
    assert "T1_std" not in maps.volumes
    assert any("noise" in sentence for sentence in maps.warnings)


def test_b1_of_another_grid_is_interpolated_through_the_affines():
    coarse = np.diag([5.0, 6, 7, 1])
    coarse[:3, 3] = -30, -30, -10
    z, y, x = np.meshgrid(*map(np.arange, (7, 14, 14)), indexing="ij")
    place = np.stack((x, y, z, np.ones_like(x)), -1) @ coarse.T
    values = 1 + place[..., :3] @ [0.01, -0.008, 0.006]
    known = np.ones_like(values, bool)
    known[0], values[0] = False, np.nan
    b1 = Volume(values, "", coarse, known)
    found, inside = on_grid(b1, AFFINE, SHAPE)
    assert inside.all()
    assert np.abs(found - field()).max() < 1e-12
    maps = map_qalas(images(), TIMING, b1)
    assert worst(maps) < 1e-5
    away = dataclasses.replace(b1, affine=coarse + np.array([[0, 0, 0, 900.0]] + [[0] * 4] * 3))
    with pytest.raises(MismatchError, match="does not overlap"):
        map_qalas(images(), TIMING, away)


def test_without_b1_one_is_assumed_and_said():
    maps = map_qalas(images(), TIMING)
    assert any("No B1 map" in sentence for sentence in maps.warnings)
    assert np.array_equal(maps["T1"].values, map_qalas(images(), TIMING, 1.0)["T1"].values)


def test_deviations_are_those_of_repeated_scans():
    scan, rng = images(), np.random.default_rng(3)
    values = np.repeat(scan.values[:, :1, :1, :1], 4000, 3)
    b1, noise = field()[0, 0, 0], 0.01 * np.abs(values[4, 0, 0, 0])
    values = values + noise * (rng.standard_normal(values.shape) + 1j * rng.standard_normal(values.shape))
    many = Images(values, AFFINE, scan.contrasts, noise_std=np.full(values.shape[1:], noise))
    maps = map_qalas(many, TIMING, float(b1), ie="free")
    for name in TRUTH:
        assert 0.9 < maps[name].values.std() / np.median(maps[f"{name}_std"].values) < 1.1


def test_dictionary_is_within_its_steps_of_the_fit():
    grid = Grid(np.geomspace(0.5, 2, 60), np.geomspace(0.04, 0.15, 60), np.linspace(0.8, 1, 21), np.array([1.0]))
    fitted, matched = map_qalas(images(), TIMING), map_qalas(images(), TIMING, method="dictionary", grid=grid)
    for name, step in (("T1", grid.t1[1] / grid.t1[0]), ("T2", grid.t2[1] / grid.t2[0])):
        ratio = matched[name].values / fitted[name].values
        assert np.quantile(np.abs(np.log(ratio)), 0.95) < np.log(step)


def test_empty_and_damaged_voxels_are_not_valid():
    scan = images()
    values = scan.values.copy()
    values[:, 0] = 0
    values[2, 1, 0, 0] = np.nan
    b1 = field()
    b1[2, 0, 0] = 0
    maps = map_qalas(dataclasses.replace(scan, values=values), TIMING, b1)
    wrong = np.zeros(SHAPE, bool)
    wrong[0] = wrong[1, 0, 0] = wrong[2, 0, 0] = True
    assert np.array_equal(maps["T1"].valid, ~wrong)
    assert all(np.isfinite(volume.values).all() for volume in maps.volumes.values())
    assert worst(maps, ~wrong) < 1e-5


def test_order_is_that_of_the_labels_or_checked():
    scan, turned = images(), [4, 0, 2, 3, 1]
    shuffled = dataclasses.replace(
        scan, values=scan.values[turned], contrasts=tuple({"ECO": k} for k in turned)
    )  # fmt: skip
    assert worst(map_qalas(shuffled, TIMING, field())) < 1e-5
    unnamed = ({},) * 5
    for order in ([1, 0, 2, 3, 4], [0, 1, 3, 2, 4], [4, 3, 2, 1, 0], [1, 2, 3, 4, 0]):
        with pytest.raises(MismatchError, match="out of order"):
            map_qalas(dataclasses.replace(scan, values=scan.values[order], contrasts=unnamed), TIMING, field())


def test_blocks_change_nothing(monkeypatch):
    whole, seen = map_qalas(images(), TIMING, field()), []
    monkeypatch.setattr("pulsetwin.recon.qalas.maps._BLOCK", 100)
    parts = map_qalas(images(), TIMING, field(), progress=lambda done, total, what: seen.append((done, total)))
    assert np.allclose(whole["T1"].values, parts["T1"].values, rtol=1e-6)
    assert seen[-1] == (720, 720)
    assert len(seen) == 8


def test_what_is_wrong_is_said():
    scan = images()
    with pytest.raises(ShapeError, match="5 contrasts, but there are 4"):
        map_qalas(dataclasses.replace(scan, values=scan.values[:4], contrasts=scan.contrasts[:4]), TIMING)
    with pytest.raises(MismatchError, match="labelled ECO"):
        map_qalas(dataclasses.replace(scan, contrasts=tuple({"ECO": k // 2} for k in range(5))), TIMING)
    with pytest.raises(ProtocolError, match="no method 'ditionary'"):
        map_qalas(scan, TIMING, method="ditionary")
    with pytest.raises(ProtocolError, match="use method fit"):
        map_qalas(scan, TIMING, method="dictionary", ie=0.9)
    with pytest.raises(ShapeError, match="b1 is"):
        map_qalas(scan, TIMING, np.ones((2, 2, 2)))
    with pytest.raises(ProtocolError, match="no voxel to map"):
        map_qalas(dataclasses.replace(scan, values=0 * scan.values), TIMING)
    with pytest.raises(ProtocolError, match="only pulses depend"):
        map_qalas(scan, TIMING, offset=np.zeros(SHAPE))
