"""Grids of dictionaries, and the file that tells them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.recon.cest_mrf.grid import Cartesian, Hypercube, spaced
from pulsetwin.recon.cest_mrf.study import PhCalibration, read_study
from tests.conftest import ROOT
from tests.recon.cest_mrf.cases import DATA, STUDY

AXES = {"t1": np.array([1.0, 1.5]), "t2": np.array([0.05]), "mt.fraction": np.array([0.1, 0.15, 0.2])}


def test_first_parameter_varies_slowest_and_slices_are_of_the_whole():
    grid = Cartesian(AXES)
    whole = np.array(list(itertools.product(*AXES.values())))
    np.testing.assert_array_equal(grid.table(0, len(grid)), whole)
    np.testing.assert_array_equal(grid.table(2, 99), whole[2:])
    np.testing.assert_array_equal(grid.rows(np.array([5, 0])), whole[[5, 0]])


def test_billions_of_entries_cost_nothing_until_they_are_asked_for():
    grid = Cartesian({name: np.arange(2000.0) for name in ("t1", "t2", "b1")})
    np.testing.assert_array_equal(grid.table(len(grid) - 2, len(grid) + 5), [[1999, 1999, 1998], [1999, 1999, 1999]])


def test_each_part_of_each_range_of_a_hypercube_holds_one_entry():
    ranges = {"t1": (0.5, 3.5), "mt.fraction": (0.0, 0.3)}
    grid = Hypercube(ranges, 1000, seed=3)
    table = grid.table(0, 1000)
    for column, (low, high) in zip(table.T, ranges.values(), strict=True):
        np.testing.assert_array_equal(np.sort(np.floor(1000 * (column - low) / (high - low))), np.arange(1000))
    np.testing.assert_array_equal(Hypercube(ranges, 1000, seed=3).table(10, 20), table[10:20])
    assert not np.array_equal(Hypercube(ranges, 1000, seed=4).table(0, 1000), table)


def test_steps_reach_the_end():
    np.testing.assert_allclose(spaced(0.6, 1.2, 0.05), np.linspace(0.6, 1.2, 13), rtol=1e-15)
    for bad in ((0.6, 1.2, 0.07), (1.2, 0.6, 0.1), (0, 1, 0), (0, 1, float("nan"))):
        with pytest.raises(ProtocolError, match="positive step that leads to the end"):
            spaced(*bad)


def test_a_seed_is_not_negative():
    with pytest.raises(ProtocolError, match="seed = -1: give a number from 0 on"):
        Hypercube({"t1": (1.0, 2.0)}, 10, seed=-1)


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [2.0, 1.0], [1.0, np.nan]])
def test_values_rise(values):
    with pytest.raises(ProtocolError, match="t1"):
        Cartesian({"t1": np.array(values)})


def read(tmp_path, text=STUDY, name="study.yaml"):
    (tmp_path / name).write_text(text, "utf-8")
    return read_study(tmp_path / name)


def test_one_file_tells_pools_grid_measurement_and_solutes(tmp_path):
    study = read(tmp_path)
    assert study.grid.names == ("t1", "t2", "amine.exchange_rate", "amine.fraction")
    np.testing.assert_allclose(study.grid.axes["amine.fraction"], np.arange(10, 121, 10) * 3 / 110e3, rtol=1e-15)
    assert study.measurement == {"mode": "pulseq_cest", "observe": "transverse", "normalisation": "l2"}
    assert study.solutes["amine"].concentration(3 / 110e3) == pytest.approx(1)
    assert not study.model.reset
    cube = read(tmp_path, STUDY.split("grid:")[0] + "grid: {samples: 20, t1: {from: 1, to: 2}}")
    assert cube.grid == Hypercube({"t1": (1.0, 2.0)}, 20)


def test_the_study_of_the_how_to(tmp_path):
    page = (ROOT / "docs" / "how-to" / "cest.md").read_text("utf-8")
    study = read(tmp_path, page.split("```yaml")[1].split("```")[0])
    assert len(study.grid) == 17 * 13 * 131 * 23
    np.testing.assert_allclose(study.solutes["amine"].ph(np.array([170.0, 220, 370])), [4, 4.5, 5], atol=0.02)


def test_toml(tmp_path):
    text = """
    b0 = 3
    water_pool = {t1 = 1.2, t2 = 0.08}
    [cest_pool]
    [grid]
    t1 = {from = 1, to = 2, step = 0.5}
    """
    assert read(tmp_path, text, "study.toml").grid.table(0, 9).tolist() == [[1.0], [1.5], [2.0]]


@pytest.mark.skipif(not DATA.exists(), reason="data not to be redistributed are not here")
def test_a_pool_model_of_others_is_a_study_without_a_grid():
    assert read_study(DATA / "pulseq_cest" / "WM_3T_default_7pool_bmsim.yaml").grid is None


def test_ph_of_base_catalysed_exchange():
    amide = PhCalibration(5.57, 6.4)
    np.testing.assert_allclose(amide(np.array([5.57, 55.7])), [6.4, 7.4])
    assert np.isnan(PhCalibration(5.57, 6.4, offset=10)(np.array(9.0)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  amine.exchange_rate", "  amine.exchange", r"grid: 'amine.exchange' is unknown, did you mean 'amine.ex"),
        ("[0.6, 0.9, 1.2]", "[0.6, 0.9, x]", r"grid.t2 = 'x' is no number"),
        ("[0.6, 0.9, 1.2]", "[]", r"t2 = \[\]: give finite numbers"),
        ("[0.6, 0.9, 1.2]", "[0, 0.9]", r"t2 = 0: give a number above 0"),
        ("from: 10, to: 120", "from: -10, to: 120", r"amine.fraction = -0.000\d+: give a number from 0 on"),
        ("from: 100, to", "from: .nan, to", r"grid.amine.exchange_rate.from = nan is no number"),
        ("at: 4", "at: .inf", r"solutes.amine.ph.at = inf is no number"),
        ("[0.6, 0.9, 1.2]", "[0.6, 0.6]", "rising order"),
        ("step: 0.2", "step: 0.3", "leads to the end"),
        ("step: 0.2", "stepp: 0.2", r"'stepp' is unknown, did you mean 'step'"),
        ("mode: pulseq_cest", "mode: literal", "give one of physical, pulseq_cest"),
        ("protons: 3", "protons: 0", "protons are missing, or not above 0"),
        ("rate: 100", "rate: -1", "give rate, above 0"),
        ("  amine: {protons", "  amide: {protons", r"solutes: 'amide' is unknown, did you mean 'amine'"),
        ("amine.concentration", "amine.fraction: [1e-3]\n  amine.concentration", "concentration and fraction"),
        ("grid:\n", "grid:\n  seed: 1\n", "give samples too"),
        ("grid:\n", "grid:\n  samples: 10\n", r"'step' is unknown; known are from, to"),
        ("t1: {from: 2.5, to: 3.3, step: 0.2}", "samples: 10", "takes from and to"),
        ("grid:\n", "grid:\n  samples: 3.7\n", r"grid.samples = 3.7 is no whole number"),
        ("grid:\n", "grid:\n  samples: .inf\n", r"grid.samples = inf is no number"),
        ("b0: 9.4\n", "", "b0 is missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    assert old in STUDY
    with pytest.raises(FileError, match=message):
        read(tmp_path, STUDY.replace(old, new))
