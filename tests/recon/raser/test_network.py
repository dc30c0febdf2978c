"""Networks: their tomography beside the exact one, the file they are kept in, and what they refuse."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pulsetwin.errors import FileError, ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.features import CHANNELS
from pulsetwin.recon.raser.network import new_networks, projector
from pulsetwin.recon.raser.network_file import load_networks, save_networks
from pulsetwin.recon.raser.tomography import filtered_back_projection
from tests.recon.raser.small_networks import PURPOSE


def inputs(scans: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(scans, PURPOSE.angles, CHANNELS, PURPOSE.modes, generator=generator)


def test_tomography_is_back_projection_and_damped_least_squares():
    sinogram = np.random.default_rng(0).random((PURPOSE.angles, PURPOSE.modes))
    angles = np.pi * np.arange(PURPOSE.angles) / PURPOSE.angles
    areas = strip_areas((PURPOSE.matrix, PURPOSE.matrix), angles, PURPOSE.modes)
    dense = areas.toarray()
    damped = np.linalg.lstsq(
        np.vstack([dense, 0.5 * np.eye(dense.shape[1])]),
        np.append(sinogram.ravel(), np.zeros(dense.shape[1])),
        rcond=None,
    )[0]
    found = new_networks(PURPOSE).tomography.double().numpy() @ sinogram.ravel()
    assert np.abs(found[0] - filtered_back_projection(sinogram, areas)).max() < 1e-5
    assert np.abs(found[1] - damped).max() < 1e-5
    assert np.array_equal(projector(PURPOSE).numpy(), dense.astype(np.float32))


def test_profiles_have_a_mean_of_one_and_nothing_is_negative():
    networks = new_networks(PURPOSE)
    with torch.no_grad():
        sinogram, linear, images = networks(inputs())
    assert sinogram.shape == (2, PURPOSE.angles, PURPOSE.modes)
    assert linear.shape == images.shape == (2, PURPOSE.matrix, PURPOSE.matrix)
    assert (sinogram.mean(2) - 1).abs().max() < 1e-5
    assert sinogram.min() >= 0
    assert images.min() >= 0


def test_scans_do_not_see_each_other():
    networks, seen = new_networks(PURPOSE), inputs()
    with torch.no_grad():
        assert (networks(seen)[2][1] - networks(seen[1:])[2][0]).abs().max() < 1e-5


def test_all_weights_learn():
    networks = new_networks(PURPOSE, seed=1)
    sinogram, _, images = networks(inputs())
    (images.square().sum() + sinogram.square().sum()).backward()
    for name, weight in networks.modules.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.any() or ".one." in name or ".norm." in name, name  # behind layers that are 0 at first


def test_another_scan_is_refused():
    with pytest.raises(ShapeError, match="train them"):
        new_networks(PURPOSE)(inputs()[:, 1:])


def test_a_file_gives_back_what_was_kept(tmp_path):
    networks, path = new_networks(PURPOSE, seed=3), tmp_path / "a.safetensors"
    save_networks(path, networks, {"steps": 7}, {"exp_avg.head": torch.ones(3)})
    again, training, state = load_networks(path)
    assert asdict(again.purpose) == asdict(PURPOSE)
    assert training == {"steps": 7}
    assert state["exp_avg.head"].sum() == 3
    with torch.no_grad():
        assert torch.equal(networks(inputs())[2], again(inputs())[2])


def test_files_that_are_damaged_or_of_something_else_are_told(tmp_path):
    path = tmp_path / "a.safetensors"
    save_networks(path, new_networks(PURPOSE), {})
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="was changed"):
        load_networks(path)
    path.write_bytes(b"nothing of the sort")
    with pytest.raises(FileError, match="cannot be read"):
        load_networks(path)
    with pytest.raises(FileError, match="cannot be read"):
        load_networks(tmp_path / "missing")
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(FileError, match="no RASER networks"):
        load_networks(path)


def test_networks_of_another_purpose_do_not_take_the_weights(tmp_path):
    """Weights do not depend on the matrix or the width of its pixels: the digest does."""
    path = tmp_path / "a.safetensors"
    save_networks(path, new_networks(PURPOSE), {})
    with safe_open(path, "pt") as file:
        about, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for was, now in (('["matrix", 12]', '["matrix", 16]'), ('["bandwidth", 0.4]', '["bandwidth", 0.5]')):
        assert about["content"].count(was) == 1
        save_file(weights, path, {**about, "content": about["content"].replace(was, now)})
        with pytest.raises(FileError, match="was changed"):
            load_networks(path)
    save_file(weights, path, about)
    assert load_networks(path)[0].purpose == PURPOSE
