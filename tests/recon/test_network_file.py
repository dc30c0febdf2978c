"""The file of networks: as readable as any other."""

from __future__ import annotations

import torch

from pulsetwin.recon.network_file import write_network

CONTENT = {"weights": {"b": torch.arange(3.0), "a": torch.ones(2, 2)}, "about": {"TI": [0.1, 0.2], 3: "three"}}


def test_the_file_has_the_rights_of_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_network(tmp_path / "n.safetensors", "test network", CONTENT)
    assert (tmp_path / "n.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
