"""From files to maps of B0, B1, T1, T2 and Z-spectra through the command line, from images and from raw data."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pulsetwin import cli
from pulsetwin.recon.wasabi import turned
from pulsetwin.sequences.seqfile import read_seq
from tests.test_cli import fails

SHAPE = (3, 6, 8)
AFFINE = np.diag([2.0, 2, 5, 1])
TINY = ("--set", "matrix=2,2,1")
OFFSETS = f"offsets={','.join(f'{one:.3f}' for one in np.linspace(-1.8, 1.8, 13))}"


def write(path: Path, values: np.ndarray) -> str:
    """Write ``[image, z, y, x]``."""
    image = nibabel.Nifti1Image(np.asarray(values, np.float32).T, AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_sform(AFFINE, 1)
    nibabel.save(image, path)
    return str(path)


def values_of(path: Path) -> np.ndarray:
    return nibabel.load(path).get_fdata().T


def units(folder: Path) -> dict[str, str]:
    return {file.stem: json.loads(file.read_text())["Units"] for file in (folder / "maps").glob("*.json")}


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch) -> None:
    for module in ("maps_output", "recon_output"):
        monkeypatch.setattr(f"pulsetwin.export.{module}.drawn", lambda *_: ([], []))


@pytest.fixture(scope="module")
def sequences(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("companions")
    found = {}
    for name, *more in (
        ("wasabi", *TINY, "--set", OFFSETS), ("saturation_recovery", *TINY),
        ("multi_echo", "--set", "matrix=2,2", "--set", "echoes=8", "--set", "echo_spacing=12ms"), ("flash", *TINY),
    ):  # fmt: skip
        found[name] = str(folder / f"{name}.seq")
        assert cli.main(["design", name, *more, "-o", found[name]]) == 0
    return found


def fields() -> tuple[np.ndarray, np.ndarray]:
    """Return relative B1 and the shift of water [Hz]."""
    _, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return 1 + 0.2 * y, 60 * x


def wasabi(seq: str) -> np.ndarray:
    """Return the images of a WASABI, M0 first."""
    said = read_seq(seq).definitions
    b1, shift = (one[..., None] for one in fields())
    offsets = np.array(said["offsets_ppm"][1:]) * said["FREQ"]
    over = turned(b1 * 42.576 * said["B1"], offsets - shift, said["tp"])[0]
    return 500 * np.moveaxis(np.concatenate((np.ones((*SHAPE, 1)), np.abs(0.95 - 1.85 * over)), -1), -1, 0)


def test_wasabi_and_a_z_spectrum_that_it_corrects(capsys, tmp_path, sequences):
    images, out = write(tmp_path / "w.nii.gz", wasabi(sequences["wasabi"])), tmp_path / "w"
    assert cli.main(["map", "wasabi", images, "--seq", sequences["wasabi"], "-o", str(out)]) == 0
    b1, shift = fields()
    assert np.abs(values_of(out / "maps/B1.nii.gz") - b1).max() < 1e-4
    assert np.abs(values_of(out / "maps/B0.nii.gz") - shift).max() < 0.05
    assert units(out)["B0"] == "Hz"
    assert units(out)["B0_ppm_std"] == "ppm"
    assert "B0_ppm" in capsys.readouterr().out
    offsets = np.concatenate((np.arange(-24, 25) / 4, [-50, -20, 20, 50]))
    seq = tmp_path / "z.seq"
    text = Path(sequences["wasabi"]).read_text()
    stated = next(line for line in text.splitlines() if line.startswith("offsets_ppm"))
    seq.write_text(text.replace(stated, f"offsets_ppm -300 {' '.join(map(str, offsets))}"))
    away = offsets - shift[..., None] / read_seq(seq).definitions["FREQ"]
    z = 1 - 0.8 / (1 + (away / 0.7) ** 2) - 0.1 / (1 + ((away + 2.3) / 15) ** 2)
    z -= 0.06 / (1 + ((away - 3.5) / 0.5) ** 2)
    scan = write(tmp_path / "z.nii.gz", 300 * np.moveaxis(np.concatenate((np.ones((*SHAPE, 1)), z), -1), -1, 0))
    zspec = ("map", "zspec", scan, "--seq", str(seq), "--b0", str(out / "maps/B0_ppm.nii.gz"))
    assert cli.main([*zspec, "--asymmetry", "3.5", "--pools", "water,mt,amide", "-o", str(tmp_path / "z")]) == 0
    assert values_of(tmp_path / "z/maps/amide.nii.gz") == pytest.approx(np.full(SHAPE, 0.06), abs=1e-4)
    expected = 0.06 * (1 - 1 / (1 + 14**2)) - 0.1 / (1 + (1.2 / 15) ** 2) + 0.1 / (1 + (5.8 / 15) ** 2)
    assert values_of(tmp_path / "z/maps/MTRasym.nii.gz") == pytest.approx(np.full(SHAPE, expected), abs=2e-3)
    told = json.loads((tmp_path / "z/maps/amide.json").read_text())
    assert told["Settings"] == {"pools": ["water", "mt", "amide"], "span": [3.5, 3.5]}
    assert set(told["Sources"]) == {"images 0", "seq", "b0"}
    capsys.readouterr()
    hertz = fails(capsys, *zspec[:-1], str(out / "maps/B0.nii.gz"), "-o", str(tmp_path / "wrong"))
    assert "in ppm, not in Hz" in hertz


def test_t1_and_t2(tmp_path, sequences):
    b1, _ = fields()
    t1, t2 = 1.2 * b1, 0.08 * b1
    said = {name: read_seq(path).definitions for name, path in sequences.items()}
    recovered = 1 - 0.97 * np.exp(-np.array(said["saturation_recovery"]["TI"]) / t1[..., None])
    echoes = np.exp(-np.array(said["multi_echo"]["TE"]) / t2[..., None]) + 0.02
    for name, seq, signal, more, truth in (
        ("t1", "saturation_recovery", recovered, (), t1), ("t2", "multi_echo", echoes, ("--offset",), t2)
    ):  # fmt: skip
        images = [write(tmp_path / f"{name}{k:02}.nii", one) for k, one in enumerate(np.moveaxis(signal, -1, 0))]
        assert cli.main(["map", name, *images, "--seq", sequences[seq], *more, "-o", str(tmp_path / name)]) == 0
        assert np.abs(values_of(tmp_path / f"{name}/maps/{name.upper()}.nii.gz") / truth - 1).max() < 1e-3
        assert units(tmp_path / name)[name.upper()] == "s"
        assert json.loads((tmp_path / name / "summary.json").read_text())["maps"]["method"] == name.upper()


def test_wrong_input_is_refused(capsys, tmp_path, sequences):
    scan = wasabi(sequences["wasabi"])
    images, end = write(tmp_path / "w.nii.gz", scan), ("-o", str(tmp_path / "out"))
    few = write(tmp_path / "few.nii.gz", scan[:9])
    empty = write(tmp_path / "nan.nii.gz", np.nan * scan)
    bare = write(tmp_path / "bare.nii.gz", scan[1:])
    seq = ("--seq", sequences["wasabi"])
    assert "9 images, but the .seq measures 14" in fails(capsys, "map", "wasabi", few, *seq, *end)
    assert "no voxel to map" in fails(capsys, "map", "wasabi", empty, *seq, *end)
    assert "no pulse is off resonance" in fails(capsys, "map", "wasabi", images, "--seq", sequences["flash"], *end)
    assert "does not define TI" in fails(capsys, "map", "t1", images, *seq, *end)
    assert "14 images, but the .seq has 8" in fails(capsys, "map", "t2", images, "--seq", sequences["multi_echo"], *end)
    assert "relative to M0" in fails(capsys, "map", "zspec", bare, *seq, *end)
    assert "give water first" in fails(capsys, "map", "zspec", images, *seq, "--pools", "amide", *end)
    assert "no such file" in fails(capsys, "map", "zspec", images, *seq, "--b0", str(tmp_path / "none.nii"), *end)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        cli.main(["map", "zspec", images, *seq, "--asymmetry", "4..3", *end])


def scanned(tmp_path: Path, name: str, *settings: str) -> tuple[Path, tuple[np.ndarray, ...]]:
    """Return the folder of a twin's scan of one voxel in a field that is off by 40 Hz, through TWIX, and its place."""
    from pulsetwin.export.twix import write as write_twix
    from pulsetwin.scanner import Scanner
    from pulsetwin.sim.acquire import acquire
    from pulsetwin.sim.phantom_tissue import Tissue
    from pulsetwin.sim.phantoms import single_voxel

    seq, out = str(tmp_path / "w.seq"), tmp_path / "out"
    every = ["matrix=2,2,1", "fov=20mm,20mm,5mm", "noise_samples=0", *settings]
    assert cli.main(["design", name, *(part for one in every for part in ("--set", one)), "-o", seq]) == 0
    phantom = single_voxel(Tissue(1.0, 0.8, 0.08), (0.01, 0.01, 0.005), b0=40.0, b1=0.9)
    write_twix(acquire(seq, phantom, Scanner.preset("siemens-prisma"), tol=1e-2), tmp_path / "w.dat")
    assert cli.main(["recon", str(tmp_path / "w.dat"), "--seq", seq, "-o", str(out)]) == 0
    first = values_of(out / "images.nii.gz")[0]
    return out, np.nonzero(first == first.max())


def test_raw_data_of_a_saturation_recovery_become_maps(tmp_path):
    out, brightest = scanned(tmp_path, "saturation_recovery", "recovery_times=4,2,1,0.6,0.3,0.15")
    assert values_of(out / "maps/T1.nii.gz")[brightest].item() == pytest.approx(0.8, rel=0.05)
    assert values_of(out / "maps/recovered.nii.gz")[brightest].item() == pytest.approx(1, abs=0.05)
    assert json.loads((out / "summary.json").read_text())["maps"]["method"] == "T1"


def test_raw_data_of_a_wasabi_become_maps(tmp_path):
    out, brightest = scanned(tmp_path, "wasabi", "recovery=3s", "m0_recovery=5s", OFFSETS)
    seq = str(tmp_path / "w.seq")
    assert values_of(out / "maps/B0.nii.gz")[brightest].item() == pytest.approx(40, abs=3)
    assert values_of(out / "maps/B1.nii.gz")[brightest].item() == pytest.approx(0.9, abs=0.02)
    assert json.loads((out / "summary.json").read_text())["maps"]["method"] == "WASABI"
    assert cli.main(["recon", str(tmp_path / "w.dat"), "--seq", seq, "--maps", "none", "-o", str(out), "--force"]) == 0
    assert not math.isnan(values_of(out / "images.nii.gz").sum())
    assert not (out / "maps/B0.nii.gz").exists()
