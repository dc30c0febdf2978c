"""From files to maps of CEST-MRF through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io

from pulsetwin import cli
from pulsetwin.recon.cest_mrf.nbmf import nbmf
from pulsetwin.recon.cest_mrf.network import network
from pulsetwin.recon.cest_mrf.problem import predicted, problem_of
from pulsetwin.recon.cest_mrf.study import read_study
from pulsetwin.recon.cest_mrf.training import Training
from pulsetwin.sequences.seqfile import read_seq
from tests.recon.cest_mrf.cases import SEQ, STUDY
from tests.test_cli import fails
from tests.test_cli_companions import units, values_of, write

SHAPE = (1, 4, 5)
NAMES = ("t1", "t2", "amine.exchange_rate", "amine.fraction")


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch) -> None:
    monkeypatch.setattr("pulsetwin.export.maps_output.drawn", lambda *_: ([], []))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Files of a scan, and what is true of it."""
    folder = tmp_path_factory.mktemp("scan")
    (folder / "study.yaml").write_text(STUDY, "utf-8")
    study = read_study(folder / "study.yaml")
    table = study.grid.rows(np.random.default_rng(0).integers(len(study.grid), size=20))
    problem = problem_of(read_seq(SEQ), study.model, **study.measurement)
    signals = 500 * predicted(problem, NAMES, table).T.reshape(-1, *SHAPE)
    write(folder / "images.nii.gz", signals)
    scipy.io.savemat(folder / "images.mat", {"data": signals[:, 0]})
    truth = {name: column.reshape(SHAPE) for name, column in zip(NAMES, table.T, strict=True)}
    write(folder / "t1.nii.gz", truth["t1"][None])
    write(folder / "t2.nii.gz", truth["t2"][None])
    return folder, truth


def asked(folder, images, *more):
    """Arguments of the command line."""
    return (
        "map", "cest", str(folder / images), "--seq", str(SEQ), "--pools", str(folder / "study.yaml"), *map(str, more)
    )  # fmt: skip


def test_maps_with_known_maps_and_a_reference(scan, tmp_path, capsys):
    folder, truth = scan
    (tmp_path / "reference").mkdir()
    noisy = truth["amine.exchange_rate"] * (1 + 0.05 * np.random.default_rng(1).standard_normal(SHAPE))
    write(tmp_path / "reference" / "amine_exchange_rate.nii.gz", noisy[None])
    write(tmp_path / "reference" / "amine_fraction.nii.gz", noisy[None, :, :2])
    known = ("--t1", folder / "t1.nii.gz", "--t2", folder / "t2.nii.gz")
    out = tmp_path / "out"
    assert cli.main(asked(folder, "images.nii.gz", *known, "--reference", tmp_path / "reference", "-o", out)) == 0
    np.testing.assert_allclose(values_of(out / "maps" / "amine_fraction.nii.gz"), truth["amine.fraction"], rtol=1e-5)
    assert units(out) == {
        "amine_fraction": "arbitrary", "amine_concentration": "mM", "amine_exchange_rate": "1/s", "amine_pH": "pH",
        "residual": "arbitrary", "R2": "arbitrary", "mask": "arbitrary",
    }  # fmt: skip
    side = json.loads((out / "maps" / "amine_pH.json").read_text())
    assert side["Description"] == "pH, by its calibration, from the exchange rate of the pool amine"
    assert side["Settings"]["method"] == "dictionary"
    figures = json.loads((out / "summary.json").read_text())["maps"]["agreement"]["amine_exchange_rate"]
    assert figures["nrmse"] == pytest.approx(
        np.sqrt(np.mean((truth["amine.exchange_rate"] - noisy) ** 2)) / noisy.mean(), rel=1e-4
    )
    assert "ICC(2,1)" in (out / "report.html").read_text("utf-8")
    told = capsys.readouterr()
    assert "agreement amine_exchange_rate: nrmse" in told.out
    assert "amine_fraction is not compared with the reference" in told.err


def test_mat_and_nifti_give_the_same(scan, tmp_path):
    folder, truth = scan
    assert cli.main(asked(folder, "images.mat", "-o", tmp_path / "out")) == 0
    found = values_of(tmp_path / "out" / "maps" / "amine_exchange_rate.nii.gz")
    np.testing.assert_allclose(found, truth["amine.exchange_rate"], rtol=1e-5)


def test_voxelwise(scan, tmp_path):
    folder, truth = scan
    known = ("--t1", folder / "t1.nii.gz", "--t2", folder / "t2.nii.gz")
    assert cli.main(asked(folder, "images.nii.gz", *known, "--method", "voxelwise", "-o", tmp_path / "out")) == 0
    np.testing.assert_allclose(
        values_of(tmp_path / "out" / "maps" / "amine_fraction.nii.gz"), truth["amine.fraction"], rtol=1e-3
    )
    side = json.loads((tmp_path / "out" / "maps" / "amine_pH_std.json").read_text())
    assert "standard deviation" in side["Description"]


@pytest.mark.parametrize(("method", "steps"), [("nbmf", 20), ("network", 150)])
def test_networks(scan, tmp_path, monkeypatch, method, steps):
    folder, truth = scan
    many = np.repeat(values_of(folder / "images.nii.gz"), 3, axis=-2)
    noisy = many + 0.3 * np.random.default_rng(2).standard_normal(many.shape)
    write(folder / f"{method}.nii.gz", noisy)
    known = []
    for name in ("t1", "t2"):
        write(folder / f"{method}_{name}.nii.gz", np.repeat(truth[name][None], 3, axis=-2))
        known += [f"--{name}", folder / f"{method}_{name}.nii.gz"]
    function = {"nbmf": nbmf, "network": network}[method]
    monkeypatch.setitem(function.__kwdefaults__, "training", Training(steps=steps, batch=64))
    monkeypatch.setattr("pulsetwin.recon.cest_mrf.network._DRAWS", 2000)
    out = tmp_path / "out"
    assert cli.main(asked(folder, f"{method}.nii.gz", *known, "--method", method, "-o", out)) == 0
    found = values_of(out / "maps" / "amine_exchange_rate.nii.gz")
    expected = np.repeat(truth["amine.exchange_rate"], 3, axis=-2)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.8
    assert json.loads((out / "maps" / "R2.json").read_text())["Settings"]["method"] == method


def test_mistakes_are_told_in_one_line(scan, tmp_path, capsys):
    folder, truth = scan

    def told(message, images="images.nii.gz", *more):
        assert message in fails(capsys, *asked(folder, images, *more, "-o", tmp_path / "out"))

    write(folder / "few.nii.gz", values_of(folder / "images.nii.gz")[:29])
    told("there are 29 images", "few.nii.gz")
    told("no such file", "images.nii.gz", "--t1", folder / "none.nii.gz")
    write(folder / "ms.nii.gz", 1e3 * truth["t1"][None])
    told("in s, not in ms", "images.nii.gz", "--t1", folder / "ms.nii.gz")
    write(folder / "small.nii.gz", truth["t1"][None, ..., :3])
    told("resample it to the grid", "images.nii.gz", "--t1", folder / "small.nii.gz")
    told("no folder with maps", "images.nii.gz", "--reference", folder / "nothing")
    told("uses no dictionary", "images.nii.gz", "--method", "voxelwise", "--dictionary", tmp_path / "d.h5")
    told("parallel is of nbmf", "images.nii.gz", "--parallel")
    told("tells no shares of M0", "images.nii.gz", "--method", "nbmf", "--parallel")
    (folder / "other.yaml").write_text(STUDY.replace("b0: 9.4", "b0: 3"), "utf-8")
    told("give the model of that field", "images.nii.gz", "--pools", folder / "other.yaml")
    assert not (tmp_path / "out").exists()
