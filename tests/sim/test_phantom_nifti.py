"""Phantoms written and read back, read from others' files, and files that are not what they should be."""

from __future__ import annotations

import gzip
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from pulsetwin.errors import FileError, OutputExistsError, ProtocolError
from pulsetwin.sim.coil_array import with_coils
from pulsetwin.sim.phantom import Phantom, Pool
from pulsetwin.sim.phantom_nifti import load, save
from pulsetwin.sim.phantoms import brain, phantom_by_name

MAPS = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")
KINDS = ("folder", "single.nii.gz", "single.nii")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    small = with_coils(brain((3, 10, 12), (0.2, 0.19, 0.02)), 3)
    return replace(small, shape="sinc", b1=torch.cat((small.b1, 0.5j * small.b1)))


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write ``[x, y, z]`` or ``[x, y, z, volume]``, of 2 mm unless there is an affine."""
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine), path)


def volumes(*values: float, shape=(4, 3, 2)) -> np.ndarray:
    return np.stack([np.full(shape, value, np.float32) for value in values], -1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(phantom, tmp_path, kind):
    save(phantom, tmp_path / kind)
    result = load(tmp_path / kind)
    assert result.shape == "sinc"
    assert result.size == pytest.approx(phantom.size, rel=1e-6)
    for name in MAPS:
        assert torch.allclose(getattr(result, name), getattr(phantom, name), rtol=1e-6, atol=1e-12), name


def test_origin_and_axes_of_the_file(phantom, tmp_path):
    save(phantom, tmp_path / "out")
    image = nibabel.load(tmp_path / "out" / "t1.nii.gz")
    assert image.shape == (12, 10, 3)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert np.allclose(image.affine @ [6, 5, 1, 1], [0, 0, 0, 1], atol=1e-5)
    assert image.get_fdata()[7, 4, 2] == pytest.approx(float(phantom.t1[2, 4, 7]))


def test_four_volumes_without_names_are_enough(tmp_path):
    write(tmp_path / "a.nii.gz", volumes(0.8, 1.2, 0.09, 0.05))
    result = load(tmp_path / "a.nii.gz")
    assert result.grid == (2, 3, 4)
    assert result.size == pytest.approx((2e-3,) * 3)
    for name, value in zip(MAPS, (0.8, 1.2, 0.09, 0.05, 0, 0, 1, 1), strict=True):
        assert torch.allclose(getattr(result, name), torch.full((), value, dtype=getattr(result, name).dtype)), name
    write(tmp_path / "b.nii.gz", volumes(0.8, 1.2, 0.09))
    assert bool(torch.isinf(load(tmp_path / "b.nii.gz").t2_prime).all())


def test_other_orientations_are_turned_to_ras(tmp_path):
    values = volumes(1, 1, 0.1)
    values[..., 1] += np.arange(4)[:, None, None]
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])  # x to the left
    write(tmp_path / "a.nii.gz", values, affine)
    assert torch.allclose(load(tmp_path / "a.nii.gz").t1[0, 0], torch.tensor([4.0, 3, 2, 1], dtype=torch.float64))
    swapped = np.array([[0, 0, 2.0, 0], [3.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])  # voxel axes y, z, x
    write(tmp_path / "b.nii.gz", values, swapped)
    result = load(tmp_path / "b.nii.gz")
    assert result.size == pytest.approx((2e-3, 3e-3, 4e-3))
    assert torch.allclose(result.t1[0, :, 0], torch.tensor([1.0, 2, 3, 4], dtype=torch.float64))


def test_voxels_in_metres(tmp_path):
    image = nibabel.Nifti1Image(volumes(1, 1, 0.1), np.diag([2e-3, 2e-3, 2e-3, 1.0]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert load(tmp_path / "a.nii").size == pytest.approx((2e-3,) * 3)


def test_a_folder_needs_three_maps_only(tmp_path):
    for name, value in (("proton_density", 1.0), ("t1", 0.9), ("t2", 0.1)):
        write(tmp_path / f"{name}.nii", volumes(value)[..., 0])
    result = phantom_by_name(str(tmp_path), (1, 2, 2), (8e-3, 8e-3, 2e-3))
    assert result.grid == (1, 2, 2)
    assert float(result.t1.max()) == pytest.approx(0.9)


def damaged(folder: Path, what: str) -> Path:
    """A file or folder that is wrong in one way."""
    path = folder / "bad.nii.gz"
    good = volumes(1, 0.9, 0.1)
    match what:
        case "absent":
            return path
        case "text":
            path.write_text("no image")
        case "cut":
            write(folder / "whole.nii.gz", np.random.default_rng(0).random((20, 20, 20, 3)))
            path.write_bytes((folder / "whole.nii.gz").read_bytes()[:3000])
        case "corrupt":
            write(path, good)
            path.write_bytes(gzip.compress(b"x" * 348))
        case "flipped bits":
            write(path, np.random.default_rng(0).random((20, 20, 20, 3)))
            content = bytearray(path.read_bytes())
            content[2000:2040] = bytes(255 - b for b in content[2000:2040])
            path.write_bytes(content)
        case "3D":
            write(path, good[..., 0])
        case "two volumes":
            write(path, good[..., :2])
        case "complex":
            write(path, good.astype(np.complex64))
        case "milliseconds":
            write(path, good * [1, 1000, 1000])
        case "nan":
            good[0, 0, 0, 1] = math.nan
            write(path, good)
        case "negative":
            good[0, 0, 0, 0] = -1
            write(path, good)
        case "zero":
            good[0, 0, 0, 2] = 0
            write(path, good)
        case "empty":
            write(path, good * 0)
        case "names":
            write(path, good)
            (folder / "bad.json").write_text(json.dumps({"volumes": ["proton_density", "t1", "T2"]}))
        case "few names":
            write(path, good)
            (folder / "bad.json").write_text(json.dumps({"volumes": ["proton_density"]}))
        case "no list":
            write(path, good)
            (folder / "bad.json").write_text(json.dumps({"volumes": 3}))
        case "json":
            write(path, good)
            (folder / "bad.json").write_text("{")
        case "shape":
            write(path, good)
            (folder / "bad.json").write_text(json.dumps({"voxel_shape": "round"}))
        case "twice":
            write(path, volumes(1, 0.9, 0.1, 0.1))
            (folder / "bad.json").write_text(json.dumps({"volumes": ["proton_density", "t1", "t2", "t2"]}))
        case "only real and another":
            write(path, volumes(1, 0.9, 0.1, 0.1))
            (folder / "bad.json").write_text(json.dumps({"volumes": ["proton_density", "t1", "t2", "b1_imag"]}))
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("absent", "does not exist"), ("text", "cannot be read"), ("cut", "cannot be read"),
        ("corrupt", "cannot be read"), ("flipped bits", "cannot be read"),
        ("3D", "1 volumes"), ("two volumes", "2 volumes"), ("complex", "real numbers"),
        ("milliseconds", "ms"), ("nan", "not finite"), ("negative", "negative"), ("zero", "t2 is 0"),
        ("empty", "nowhere"), ("names", "'T2'"), ("few names", "1 names"), ("no list", "not a list"),
        ("json", "JSON"), ("shape", "round"), ("twice", "2 volumes"), ("only real and another", "b1_real"),
    ],
)  # fmt: skip
def test_bad_input_is_explained(tmp_path, what, said):
    with pytest.raises(FileError, match=said):
        load(damaged(tmp_path, what))


def test_bad_folders_are_explained(phantom, tmp_path):
    with pytest.raises(FileError, match="no proton_density"):
        load(tmp_path)
    save(phantom, tmp_path / "a")
    (tmp_path / "a" / "t2.nii.gz").unlink()
    with pytest.raises(FileError, match="there is no t2"):
        load(tmp_path / "a")
    write(tmp_path / "a" / "t2.nii.gz", volumes(0.1)[..., 0])
    with pytest.raises(FileError, match="voxels of t2"):
        load(tmp_path / "a")
    affine = np.diag([*(1e3 * edge for edge in phantom.size), 1.0])
    write(tmp_path / "a" / "t2.nii.gz", volumes(0.1)[..., 0], affine)
    with pytest.raises(FileError, match="t2 has"):
        load(tmp_path / "a")
    write(tmp_path / "a" / "t2.nii", volumes(0.1)[..., 0])
    with pytest.raises(FileError, match="both"):
        load(tmp_path / "a")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_replaced_unasked(phantom, tmp_path, kind):
    save(phantom, tmp_path / kind)
    with pytest.raises(OutputExistsError):
        save(phantom, tmp_path / kind)
    save(replace(phantom, b0=phantom.b0 + 1), tmp_path / kind, force=True)
    assert torch.allclose(load(tmp_path / kind).b0, phantom.b0 + 1, rtol=1e-6, atol=1e-5)


def test_strangers_are_left_alone(phantom, tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match=r"thesis\.txt"):
        save(phantom, tmp_path, force=True)
    with pytest.raises(OutputExistsError, match="is a file"):
        save(phantom, tmp_path / "thesis.txt", force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_write_leaves_nothing(phantom, tmp_path, kind, monkeypatch):
    written = []
    original = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        written.append(self)
        if len(written) == 2:
            raise OSError(28, os.strerror(28))
        return original(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="space"):
        save(phantom, tmp_path / kind)
    assert list(tmp_path.iterdir()) == []


def test_pools_are_refused(phantom, tmp_path):
    one = torch.ones((), dtype=torch.float64)
    pool = Pool(torch.zeros(phantom.grid), one, 3.5, one, one)
    with pytest.raises(ProtocolError, match="pools"):
        save(replace(phantom, pools=(pool,)), tmp_path / "a")
