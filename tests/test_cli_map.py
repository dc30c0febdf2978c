"""From files to maps through the command line: `map qalas`, `map b1`, and `recon` of scans that are made for maps."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pulsetwin import cli
from pulsetwin.export.twix import write as write_twix
from pulsetwin.recon.qalas.network import load_network, new_network, save_network
from pulsetwin.recon.qalas.ssl import estimate
from pulsetwin.recon.qalas.synthetic import presets
from pulsetwin.recon.qalas.transmit_field import on_grid
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import afi
from pulsetwin.sequences.protocol import definitions
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import phantom_for
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.volume import Volume
from tests.qalas_scan import TISSUES, qalas_raw
from tests.sequences.small import small
from tests.synthetic import FOV, cartesian_positions, coil_maps, ellipses, scan, signal
from tests.test_cli import fails

TIMING = QalasTiming.preset("siemens")
SHAPE = (8, 12, 10)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -12], [0, 0, 3, -12], [0, 0, 0, 1]])
NAMES = ("T1", "T2", "PD", "IE")


def tissue(shape: tuple[int, int, int] = SHAPE) -> dict[str, np.ndarray]:
    """Return maps ``[z, y, x]`` of two tissues within a margin that is empty."""
    z, _, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    inner = x < shape[2] // 2
    full = np.zeros(shape)
    full[1:-1, 1:-1, 1:-1] = 1
    return {
        "T1": np.where(inner, 0.85, 1.4), "T2": np.where(inner, 0.07, 0.09), "PD": full, "IE": np.full(shape, 0.9),
        "B1": 0.9 + 0.02 * z,
    }  # fmt: skip


TRUTH = tissue()
FULL = TRUTH["PD"] > 0


def contrasts(truth: dict[str, np.ndarray] = TRUTH, timing: QalasTiming = TIMING) -> np.ndarray:
    """Return the real signals ``[contrast, z, y, x]`` of the closed form."""
    t1, t2, pd, ie, b1 = (torch.from_numpy(truth[name]) for name in (*NAMES, "B1"))
    return np.moveaxis(signals(timing, t1, t2, pd=pd, ie=ie, b1=b1).numpy(), -1, 0)


def write(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    image = nibabel.Nifti1Image(values.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    nibabel.save(image, path)
    return str(path)


def values_of(path: Path) -> np.ndarray:
    image = nibabel.load(path)
    assert np.allclose(image.affine, AFFINE)
    return image.get_fdata().T


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    """Images of all kinds, and a map of B1 on a coarser grid."""
    real = contrasts()
    scaled = 30000 / np.abs(real).max()
    coarse = np.diag([4.0, 6, 6, 1])
    coarse[:3, 3] = -14, -18, -15
    made = {
        "complex": real * np.exp(0.7j), "real": real, "magnitude": np.abs(real),
        "integer": np.round(np.abs(real) * scaled).astype(np.int16),
    }  # fmt: skip
    found = {name: write(tmp_path / f"{name}.nii.gz", values) for name, values in made.items()}
    for number, one in enumerate(np.abs(real)):
        found[f"inv{number}"] = write(tmp_path / f"inv{number}.nii", one)
    z = -15 + 6 * np.arange(6)
    field = np.broadcast_to((0.9 + 0.02 * (z + 12) / 3)[:, None, None], (6, 6, 7))
    found["b1"] = write(tmp_path / "b1.nii.gz", field.copy(), coarse)
    return found


@pytest.fixture
def figures() -> None:
    """Ask for figures, which take longest."""


@pytest.fixture(autouse=True)
def _without_figures(request, monkeypatch) -> None:
    if "figures" not in request.fixturenames:
        for module in ("maps_output", "recon_output"):
            monkeypatch.setattr(f"pulsetwin.export.{module}.drawn", lambda *_: ([], []))


def qalas(*arguments: str) -> tuple[str, ...]:
    return ("map", "qalas", *arguments)


@pytest.mark.parametrize("kind", ["complex", "real", "magnitude", "integer", "five"])
def test_images_of_all_kinds_become_maps(capsys, tmp_path, files, kind):
    images = [files[f"inv{k}"] for k in range(5)] if kind == "five" else [files[kind]]
    out = tmp_path / "out"
    assert cli.main(qalas(*images, "--timing", "siemens", "--b1", files["b1"], "-o", str(out))) == 0
    tolerance = 2e-3 if kind == "integer" else 1e-4
    for name in ("T1", "T2", "IE"):
        assert np.abs(values_of(out / f"maps/{name}.nii.gz") / TRUTH[name] - 1)[FULL].max() < tolerance
    assert np.array_equal(values_of(out / "maps/mask.nii.gz") > 0, FULL)
    assert not values_of(out / "maps/T1.nii.gz")[~FULL].any()
    told = json.loads((out / "maps/T1.json").read_text())
    assert told["Units"] == "s"
    assert told["Settings"]["mode"] == "paper"
    assert len(told["Sources"]["b1"]["sha256"]) == 64
    summary = json.loads((out / "summary.json").read_text())
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("*.*")) == summary["outputs"]
    output = capsys.readouterr()
    assert ("integers" in output.err) == (kind == "integer")
    assert ("magnitudes" in output.err) == (kind in ("magnitude", "integer", "five"))
    assert "T1 850 ms, T2 70" in output.out
    report = (out / "report.html").read_text()
    assert "like white matter" in report
    assert "not a segmentation" in report


def test_figures_are_drawn(tmp_path, files, figures):
    assert (
        cli.main(qalas(files["complex"], "--timing", "siemens", "--noise-std", "1e-3", "-o", str(tmp_path / "o"))) == 0
    )
    for name in ("maps", "uncertainty", "synthetic"):
        with Image.open(tmp_path / f"o/figures/{name}.png") as picture:
            assert min(picture.size) > 300
    assert not [one for one in json.loads((tmp_path / "o/summary.json").read_text())["warnings"] if "drawn" in one]


def test_synthetic_images_are_those_of_the_maps(tmp_path, files):
    out = tmp_path / "out"
    assert cli.main(qalas(files["complex"], "--timing", "siemens", "--b1", files["b1"], "-o", str(out))) == 0
    t1, t2 = (torch.from_numpy(TRUTH[name]) for name in ("T1", "T2"))
    for name, sequence in presets().items():
        expected = TRUTH["PD"] * sequence.signal(t1, t2).numpy()
        assert np.abs(values_of(out / f"synthetic/{name}.nii.gz") - expected).max() < 1e-4
        assert "not measured" in json.loads((out / f"synthetic/{name}.json").read_text())["Description"]


def test_noise_gives_deviations_and_labels_regions(tmp_path, files):
    labels = np.where(FULL & (TRUTH["T1"] < 1), 3, 0).astype(np.int16)
    out = tmp_path / "out"
    more = ["--rois", write(tmp_path / "labels.nii", labels), "--noise-std", "0.0005", "--mask"]
    more += [write(tmp_path / "mask.nii", labels), "--ie", "0.9"]
    assert cli.main(qalas(files["real"], "--timing", "siemens", "--b1", files["b1"], *more, "-o", str(out))) == 0
    inside = labels > 0
    assert np.array_equal(values_of(out / "maps/mask.nii.gz") > 0, inside)
    deviation = values_of(out / "maps/T1_std.nii.gz")[inside]
    assert (deviation > 0.005).all()
    assert (deviation < 0.1).all()
    (region,) = json.loads((out / "summary.json").read_text())["maps"]["regions"]
    assert (region["name"], region["voxels"]) == ("label 3", int(inside.sum()))
    assert abs(region["values"]["T1"][0] - 0.85) < 1e-4


def test_bids_names(tmp_path, files):
    out = tmp_path / "out"
    options = ("--timing", "siemens", "--bids", "sub-01_ses-2", "--noise-std", "0.001")
    assert cli.main(qalas(files["real"], *options, "-o", str(out))) == 0
    folder = out / "sub-01/ses-2/anat"
    for name in ("T1map", "desc-std_T2map", "PDmap", "desc-synthetic_FLAIR", "desc-syntheticPSIR_T1w"):
        assert (folder / f"sub-01_ses-2_acq-QALAS_{name}.nii.gz").is_file()
        assert (folder / f"sub-01_ses-2_acq-QALAS_{name}.json").is_file()
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert not (out / "maps").exists()


def test_without_b1_it_is_told(capsys, tmp_path, files):
    out = tmp_path / "out"
    assert cli.main(qalas(files["magnitude"], "--timing", "siemens", "-o", str(out))) == 0
    assert "No B1 map" in capsys.readouterr().err
    report = (out / "report.html").read_text()
    assert "No B1 map" in report
    assert "noise of the images is not known" in report
    assert values_of(out / "maps/T1_std.nii.gz")[FULL].max() < 1e-3


def test_voxels_that_are_not_finite_are_told_and_left_out(capsys, tmp_path, files):
    values = contrasts()
    values[2, 4, 4, 4] = np.nan
    values[0, 4, 4, 5] = np.inf
    path, out = write(tmp_path / "nan.nii", values), tmp_path / "out"
    assert cli.main(qalas(path, "--timing", "siemens", "--b1", files["b1"], "-o", str(out))) == 0
    assert "2 voxels are not finite" in capsys.readouterr().err
    mask = values_of(out / "maps/mask.nii.gz") > 0
    assert FULL.sum() - mask.sum() == 2
    assert not mask[4, 4, 4:6].any()


def test_wrong_images_are_refused(capsys, tmp_path, files):
    end = ("--timing", "siemens", "-o", str(tmp_path / "out"))
    five = [files[f"inv{k}"] for k in range(5)]
    assert "5 contrasts, but there are 4" in fails(capsys, *qalas(*five[:4], *end))
    assert "out of order" in fails(capsys, *qalas(five[1], five[0], *five[2:], *end))
    assert "out of order" in fails(capsys, *qalas(*five[::-1], *end))
    moved = write(tmp_path / "moved.nii", contrasts()[4], AFFINE + 0.1 * np.eye(4, k=3))
    assert "not on the grid" in fails(capsys, *qalas(*five[:4], moved, *end))
    empty = write(tmp_path / "empty.nii", np.full((5, *SHAPE), np.nan))
    assert "no voxel to map" in fails(capsys, *qalas(empty, *end))
    (tmp_path / "cut.nii.gz").write_bytes(Path(files["complex"]).read_bytes()[:500])
    assert "cannot be read as NIfTI" in fails(capsys, *qalas(str(tmp_path / "cut.nii.gz"), *end))
    assert "no such file" in fails(capsys, *qalas(str(tmp_path / "absent.nii"), *end))
    assert not (tmp_path / "out").exists()


def test_wrong_companions_are_refused(capsys, tmp_path, files):
    start, end = qalas(files["magnitude"], "--timing", "siemens"), ("-o", str(tmp_path / "out"))
    scaled = write(tmp_path / "scaled.nii", 800 * TRUTH["B1"])
    assert "--b1-nominal" in fails(capsys, *start, "--b1", scaled, *end)
    away = write(tmp_path / "away.nii", TRUTH["B1"], AFFINE + np.array([[0, 0, 0, 900.0]] + [[0] * 4] * 3))
    assert "does not overlap" in fails(capsys, *start, "--b1", away, *end)
    assert "one real volume" in fails(capsys, *start, "--b1", files["magnitude"], *end)
    assert "--b1-nominal needs --b1" in fails(capsys, *start, "--b1-nominal", "800", *end)
    assert "whole numbers" in fails(capsys, *start, "--rois", files["b1"], *end)
    small_labels = write(tmp_path / "labels.nii", np.ones((4, 4, 4), np.int16))
    assert "resample" in fails(capsys, *start, "--rois", small_labels, *end)
    assert "needs --seq" in fails(capsys, *start, "--mode", "calibrated", *end)
    assert "as in sub-01" in fails(capsys, *start, "--bids", "patient 1", *end)
    assert "no JSON object" in fails(capsys, *qalas(files["real"], "--timing", files["b1"], *end))
    assert cli.main((*start, "--b1", scaled, "--b1-nominal", "800", *end)) == 0


@pytest.fixture(scope="module")
def sequences(tmp_path_factory) -> dict[str, str]:
    """A `.seq` of QALAS and one of AFI, as `design` writes them."""
    folder, scanner, found = tmp_path_factory.mktemp("seq"), Scanner.preset("siemens-prisma"), {}
    from pulsetwin.sequences import qalas as qalas_sequence

    short = replace(small("qalas", scanner), matrix=(8, 8, 8), train=16, acceleration=None)
    for name, module, protocol in (("qalas", qalas_sequence, short), ("afi", afi, small("afi", scanner))):
        sequence = module.build(protocol, scanner)
        for key, value in definitions(protocol, name, "test").items():
            sequence.set_definition(key, value)
        sequence.write(str(folder / f"{name}.seq"))
        found[name] = str(folder / f"{name}.seq")
    return found


@pytest.mark.slow
def test_the_sequence_gives_the_timing_and_the_pulses(capsys, tmp_path, files, sequences):
    from pulsetwin.sim.signal_models.qalas_pulses import calibrate

    timing = QalasTiming.from_definitions(read_seq(sequences["qalas"]).definitions)
    t1, t2, pd, b1 = (torch.from_numpy(TRUTH[name]) for name in ("T1", "T2", "PD", "B1"))
    made = signals(timing, t1, t2, pd=pd, b1=b1, pulses=calibrate(sequences["qalas"])).numpy()
    path = write(tmp_path / "played.nii", np.moveaxis(made, -1, 0))
    start = qalas(path, "--seq", sequences["qalas"], "--b1", files["b1"])
    assert cli.main((*start, "-o", str(tmp_path / "out"))) == 0
    for name in ("T1", "T2"):
        assert np.abs(values_of(tmp_path / f"out/maps/{name}.nii.gz") / TRUTH[name] - 1)[FULL].max() < 1e-3
    assert cli.main((*start, "--mode", "paper", "-o", str(tmp_path / "paper"))) == 0
    biased = values_of(tmp_path / "paper/maps/T2.nii.gz") / TRUTH["T2"] - 1
    assert np.abs(biased)[FULL].max() > 5e-3
    capsys.readouterr()
    wrong = fails(capsys, *qalas(files["real"], "--seq", sequences["afi"], "-o", str(tmp_path / "other")))
    assert "it is no QALAS" in wrong
    assert "either pulses or ie" in fails(
        capsys, *start, "--mode", "calibrated", "--ie", "free", "-o", str(tmp_path / "other")
    )


def noisy(tmp_path: Path, name: str, seed: int) -> str:
    """Return images of the tissue with noise of 0.001."""
    noise = 1e-3 * np.random.default_rng(seed).standard_normal((5, *SHAPE))
    return write(tmp_path / f"{name}.nii", np.where(FULL, contrasts() + noise, 0))


@pytest.mark.slow
def test_networks_are_kept_used_and_trained_further(capsys, tmp_path, files):
    one, two = (noisy(tmp_path, name, seed) for seed, name in enumerate(("one", "two")))
    how = ("--timing", "siemens", "--b1", files["b1"], "--method", "ssl", "--noise-std", "0.001")
    kept, tuned = str(tmp_path / "nets/kept.pt"), str(tmp_path / "tuned.pt")
    assert cli.main(qalas(one, *how, "--ie", "0.6..1", "--save-network", kept, "-o", str(tmp_path / "a"))) == 0
    network, _ = load_network(kept)
    assert network.ie == (0.6, 1.0)
    assert network.timing == TIMING

    def told(name: str) -> tuple[dict, dict[str, np.ndarray]]:
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        return summary, {x: values_of(tmp_path / f"{name}/maps/{x}.nii.gz")[FULL] for x in NAMES}

    summary, maps = told("a")
    assert summary["maps"]["settings"]["trained"]
    digest = hashlib.sha256(Path(kept).read_bytes()).hexdigest()
    assert summary["maps"]["settings"]["saved_network"]["sha256"] == digest
    white = TRUTH["T1"][FULL] < 1
    assert abs(maps["T1"][white].mean() / 0.85 - 1) < 0.03
    assert abs(maps["T1"][~white].mean() / 1.4 - 1) < 0.03
    assert sorted(file.name for file in (tmp_path / "nets").iterdir()) == ["kept.pt"]

    assert cli.main(qalas(two, *how, "--network", kept, "-o", str(tmp_path / "b"))) == 0
    summary, used = told("b")
    assert summary["inputs"]["network"]["sha256"] == digest
    assert (summary["maps"]["settings"]["trained"], summary["maps"]["settings"]["saved_network"]) == (False, None)
    data = np.moveaxis(nibabel.load(two).get_fdata().T, 0, -1)[FULL]
    expected = estimate(network, data, TRUTH["B1"][FULL], mask=FULL)
    assert np.median(np.abs(used["T1"] / expected.t1 - 1)) < 1e-3

    further = ("--network", kept, "--fine-tune", "--save-network", tuned)
    assert cli.main(qalas(two, *how, *further, "-o", str(tmp_path / "c"))) == 0
    assert told("c")[0]["maps"]["settings"]["trained"]
    assert load_network(tuned)[0].digest != network.digest
    assert load_network(kept)[0].digest == network.digest
    capsys.readouterr()
    before = Path(tuned).read_bytes()
    again = qalas(two, *how, *further, "-o", str(tmp_path / "d"))
    assert "exists already" in fails(capsys, *again)
    assert Path(tuned).read_bytes() == before
    assert cli.main((*again, "--force")) == 0


def test_wrong_networks_are_refused_before_any_work(capsys, tmp_path, monkeypatch, files):
    monkeypatch.setattr("pulsetwin.recon.nifti_images.read_images", lambda *_: pytest.fail("has begun"))
    other = str(tmp_path / "other.pt")
    save_network(other, new_network("fast", QalasTiming.preset("ge")))
    save_file({"weights": torch.ones(1)}, tmp_path / "weights.pt")
    start = qalas(files["real"], "--timing", "siemens", "-o", str(tmp_path / "out"))
    ssl = (*start, "--method", "ssl")
    for arguments, words in (
        ((*ssl, "--ie", "0.9"), "give --ie as A..B"),
        ((*start, "--method", "dictionary", "--ie", "free"), "ask for fit or tv"),
        ((*start, "--network", other), "--network is of method ssl, but the method is fit"),
        ((*start, "--method", "tv", "--save-network", "n.pt"), "--save-network is of method ssl"),
        ((*ssl, "--fine-tune"), "--fine-tune needs --network"),
        ((*ssl, "--network", other, "--save-network", str(tmp_path / "n.pt")), "pass --fine-tune"),
        ((*ssl, "--network", other, "--fine-tune", "--save-network", other, "--force"), "would be overwritten"),
        ((*ssl, "--save-network", str(tmp_path / "out/n.pt")), "in the output folder"),
        ((*ssl, "--network", files["b1"]), "cannot be read as a network"),
        ((*ssl, "--network", str(tmp_path / "weights.pt")), "is no QALAS network"),
        ((*ssl, "--network", str(tmp_path / "absent.pt")), "no such file"),
    ):
        assert words in fails(capsys, *arguments)
    monkeypatch.undo()
    played = (files["real"], "--seq", files["b1"], "--method", "ssl", "--mode", "calibrated")
    assert "leave out --mode calibrated" in fails(capsys, *qalas(*played, "-o", str(tmp_path / "out")))
    assert "trained for another timing" in fails(capsys, *ssl, "--network", other)
    assert not (tmp_path / "out").exists()


def afi_images(b1: np.ndarray) -> np.ndarray:
    """Return both images where the times are short beside T1."""
    cosine, times = np.cos(math.radians(60) * b1), 5.0
    return np.stack((np.ones_like(b1), (1 + times * cosine) / (times + cosine))) * TRUTH["PD"]


def test_b1_of_images(capsys, tmp_path, sequences):
    path = write(tmp_path / "afi.nii", afi_images(TRUTH["B1"]))
    start = ("map", "b1", path, "--seq")
    out = tmp_path / "b1.nii.gz"
    assert cli.main((*start, sequences["afi"], "-o", str(out))) == 0
    assert np.abs(values_of(out) - TRUTH["B1"])[FULL].max() < 1e-3
    assert not values_of(out)[~FULL].any()
    told = json.loads((tmp_path / "b1.json").read_text())
    assert "clipped to 0.2 to 2" in " ".join(told["Warnings"])
    assert "clipped" in capsys.readouterr().err
    assert "no AFI" in fails(capsys, *start, sequences["qalas"], "-o", str(tmp_path / "other.nii"))
    assert "--force" in fails(capsys, *start, sequences["afi"], "-o", str(out))
    assert ".nii" in fails(capsys, *start, sequences["afi"], "-o", str(tmp_path / "b1.png"))


def raw_of(values: np.ndarray, label: str, said: dict, seed: int = 0):
    """Return the raw data of images ``[contrast, z, y, x]`` by direct sums, two coils."""
    shape = values.shape[1:]
    positions, maps = cartesian_positions(shape), coil_maps(2, shape)
    samples = np.concatenate([signal(one, maps, positions, FOV) for one in values])
    number = np.repeat(np.arange(len(values)), len(positions))
    rng = np.random.default_rng(seed)
    noise = 1e-4 * (rng.standard_normal((2, 4096)) + 1j * rng.standard_normal((2, 4096)))
    samples = samples + 1e-4 * (rng.standard_normal(samples.shape) + 1j * rng.standard_normal(samples.shape))
    made = scan(samples, np.tile(positions, (len(values), 1, 1)), shape, labels={label: number}, noise=noise)
    return replace(made, definitions=said)


def read_as(monkeypatch, raw) -> None:
    from pulsetwin.recon import read

    monkeypatch.setattr(read, "read", lambda *_, **__: raw)


def recon(tmp_path, *options: str) -> tuple[str, ...]:
    (tmp_path / "scan.dat").touch()
    return ("recon", str(tmp_path / "scan.dat"), *options, "-o", str(tmp_path / "out"))


def test_recon_of_a_qalas_makes_maps(capsys, tmp_path, monkeypatch, sequences):
    said = read_seq(sequences["qalas"]).definitions
    timing, shape = QalasTiming.from_definitions(said), (8, 12, 12)
    truth = tissue(shape) | {"PD": np.abs(ellipses(shape)), "B1": np.ones(shape)}
    read_as(monkeypatch, raw_of(contrasts(truth, timing) * np.exp(0.4j), "ECO", said))
    options = ("--seq", sequences["qalas"], "--mode", "paper", "--method", "fft")
    assert cli.main(recon(tmp_path, *options)) == 0
    out = tmp_path / "out"
    mask = nibabel.load(out / "maps/mask.nii.gz").get_fdata().T > 0
    inside = mask & (truth["PD"] > 0.5)
    assert inside.sum() > 30
    for name in ("T1", "T2"):
        found = nibabel.load(out / f"maps/{name}.nii.gz").get_fdata().T
        deviation = nibabel.load(out / f"maps/{name}_std.nii.gz").get_fdata().T
        assert np.median(np.abs(found / truth[name] - 1)[inside]) < 0.02
        assert np.median((np.abs(found - truth[name]) / np.maximum(deviation, 1e-9))[inside]) < 1.5
    summary = json.loads((out / "summary.json").read_text())
    assert summary["maps"]["settings"]["mode"] == "paper"
    assert any("No B1 map" in warning for warning in summary["warnings"])
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("*.*")) == summary["outputs"]
    output = capsys.readouterr()
    assert "region   like white matter" in output.out
    assert "No B1 map" in output.err
    assert "like grey matter" in (out / "report.html").read_text()
    network = new_network("fast", timing, (0.7, 1.0))
    save_network(tmp_path / "n.pt", network)
    assert cli.main(recon(tmp_path, *options, "--maps", "ssl", "--network", str(tmp_path / "n.pt"), "--force")) == 0
    summary = json.loads((out / "summary.json").read_text())
    digest = hashlib.sha256((tmp_path / "n.pt").read_bytes()).hexdigest()
    assert summary["inputs"]["network"]["sha256"] == digest
    found = nibabel.load(out / "maps/IE.nii.gz").get_fdata()
    assert found[found > 0].min() >= 0.7
    assert cli.main(recon(tmp_path, "--maps", "none", "--method", "fft", "--force")) == 0
    assert not (out / "maps/T1.nii.gz").exists()


def test_a_scan_of_files_becomes_maps(capsys, tmp_path):
    """A designed `.seq`, a TWIX file of what it measures and a map of B1: one command."""
    seq, dat, b1 = (str(tmp_path / name) for name in ("qalas.seq", "scan.dat", "b1.nii.gz"))
    shape, settings = (20, 24, 24), ["fov=240mm,240mm,160mm", "matrix=24,24,20", "train=24", "acceleration=1.7"]
    settings += ["calibration=14", "dummies=0", "te=none", "echo_spacing=none", "oversampling=1", "bandwidth=800"]
    assert cli.main(["design", "qalas", *(part for one in settings for part in ("--set", one)), "-o", seq]) == 0
    inside = np.abs(ellipses(shape)) > 0.5
    left = np.arange(shape[2]) < shape[2] // 2
    regions = np.stack((inside & left, inside & ~left)).astype(float)
    write_twix(qalas_raw(seq, regions, b1=0.92), dat)
    write(
        Path(b1),
        np.full((8, 8, 8), 0.92),
        np.array([[40.0, 0, 0, -160], [0, 40, 0, -160], [0, 0, 40, -160], [0] * 3 + [1]]),
    )
    out = tmp_path / "out"
    assert cli.main(["recon", dat, "--seq", seq, "--b1", b1, "--mode", "paper", "-o", str(out)]) == 0
    mask = nibabel.load(out / "maps/mask.nii.gz").get_fdata().T > 0
    for name, column in (("T1", 0), ("T2", 1)):
        found = nibabel.load(out / f"maps/{name}.nii.gz").get_fdata().T
        for region, tissue in zip(regions, TISSUES.numpy(), strict=True):
            where = mask & (region > 0)
            assert where.sum() > 500
            assert np.median(found[where]) == pytest.approx(tissue[column], rel=(0.03, 0.06)[column])
    output = capsys.readouterr()
    assert "resolved by 6 components" in output.err
    assert "No B1 map" not in output.err
    assert "region   like white matter" in output.out
    (tmp_path / "other.seq").write_text((tmp_path / "qalas.seq").read_text().replace("Name qalas", "Name other"))
    wrong = fails(capsys, "recon", dat, "--seq", str(tmp_path / "other.seq"), "-o", str(tmp_path / "wrong"))
    assert "other.seq" in wrong
    single = fails(capsys, "recon", dat, "--seq", seq, "--double", "-o", str(tmp_path / "wrong"))
    assert "--method sense" in single


def test_recon_of_an_afi_makes_the_map_of_b1(tmp_path, monkeypatch, sequences):
    read_as(monkeypatch, raw_of(afi_images(TRUTH["B1"]), "SET", read_seq(sequences["afi"]).definitions))
    assert cli.main(recon(tmp_path)) == 0
    found = nibabel.load(tmp_path / "out/maps/B1.nii.gz").get_fdata().T
    assert np.abs(found - TRUTH["B1"])[FULL].max() < 0.02
    assert "clipped to" in (tmp_path / "out/report.html").read_text()


def test_the_twin_finds_its_own_transmit_field(tmp_path):
    """Turbo-FLASH of a phantom whose B1 is 0.78 to 1.15, through files: half of the voxels within 1 %."""
    seq, dat, out = (str(tmp_path / name) for name in ("b1.seq", "b1.dat", "out"))
    assert cli.main(["design", "b1_turbo_flash", "--set", "matrix=16,16,1", "-o", seq]) == 0
    assert cli.main(["simulate", seq, "--phantom", "shepp-logan", "--matrix", "16", "-o", dat]) == 0
    assert cli.main(["recon", dat, "--seq", seq, "-o", out]) == 0
    phantom = phantom_for(read_seq(seq), "shepp-logan", 16)
    known, edges = phantom.b1[0].abs().numpy(), 1e3 * np.array(phantom.size)
    place = np.diag([*edges, 1.0])
    place[:3, 3] = -edges * (np.array(known.shape[::-1]) // 2)
    found = nibabel.load(f"{out}/maps/B1.nii.gz")
    values = found.get_fdata().T
    truth = on_grid(Volume(known, "", place, np.ones(known.shape, bool)), found.affine, values.shape)[0]
    apart = np.abs(values / truth - 1)[values > 0]
    assert len(apart) > 100
    assert np.median(apart) < 0.01
    assert np.percentile(apart, 85) < 0.05


def test_options_of_maps_are_not_ignored(capsys, tmp_path, monkeypatch, files):
    read_as(monkeypatch, raw_of(np.ones((1, *SHAPE)), "ECO", {}))
    assert "--b1 is for maps of a QALAS" in fails(capsys, *recon(tmp_path, "--b1", files["b1"]))
    assert "no such file" in fails(capsys, *recon(tmp_path, "--b1", str(tmp_path / "absent.nii")))


@pytest.mark.parametrize(
    "arguments",
    [["map"], ["map", "t3"], qalas("a.nii", "-o", "b"), qalas("a.nii", "--timing", "ge", "--seq", "s", "-o", "b"),
     qalas("a.nii", "--timing", "ge", "--ie", "2", "-o", "b"), ["map", "b1", "a.nii", "-o", "b.nii"]],
)  # fmt: skip
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    assert stop.value.code == 2
    assert "usage: pulsetwin map" in capsys.readouterr().err
