"""The file of networks: as readable as any other, and equal for equal networks."""

from __future__ import annotations

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pulsetwin.recon.image_network import Architecture, load_image_network, new_image_network, save_image_network
from pulsetwin.recon.network_file import write_network

CONTENT = {"weights": {"b": torch.arange(3.0), "a": torch.ones(2, 2)}, "about": {"TI": [0.1, 0.2], 3: "three"}}


def test_the_file_has_the_rights_of_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_network(tmp_path / "n.safetensors", "test network", CONTENT)
    assert (tmp_path / "n.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_equal_networks_have_equal_files(tmp_path):
    files = set()
    for number in range(8):
        write_network(tmp_path / str(number), "test network", CONTENT)
        files.add((tmp_path / str(number)).read_bytes())
    assert len(files) == 1
    with safe_open(tmp_path / "0", "pt") as file:
        assert file.metadata()["format"] == "pulsetwin test network"
        assert torch.equal(file.get_tensor("/weights/b"), torch.arange(3.0))
        assert torch.equal(file.get_tensor("/weights/a"), torch.ones(2, 2))


def test_files_whose_header_is_in_another_order_are_read(tmp_path):
    network = new_image_network(Architecture(2, 1, width=3, layers=1), {"what": "test"})
    save_image_network(tmp_path / "n", network)
    with safe_open(tmp_path / "n", "pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "n", about)
    assert load_image_network(tmp_path / "n").digest == network.digest
