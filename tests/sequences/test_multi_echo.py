"""Multi-echo spin echo: times, places and labels by pypulseq's own tracing, the decay, and T2 of an image."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.sequences.multi_echo import Protocol, build
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from tests.sequences.nonlines import EDGE, PRISMA, Scanner, errors


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {"slices": 3, "refocusing": (3.0, 2.5)}], ids=str)
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    settings = {
        "fov": (edge, edge, edge / 20), "matrix": (32, 16), "echoes": 4, "tr": 0.3, "refocusing_duration": 4e-3,
    }  # fmt: skip
    assert not errors(build(Protocol(**(settings | extra)), scanner), tmp_path / "echoes.seq", scanner)


@pytest.mark.parametrize(("spacing", "tr"), [(None, None), (14e-3, 0.3)])
def test_times_places_and_labels(spacing, tr):
    protocol = Protocol(matrix=(32, 8), echoes=5, slices=2, echo_spacing=spacing, tr=tr, dummies=2)
    seq = build(protocol, PRISMA)
    k, _, excitation, refocusing, time = seq.calculate_kspace()
    labels = {name: np.asarray(value) for name, value in seq.evaluate_labels(evolution="adc").items()}
    k, time, excitation = k.reshape(3, -1, 64), time.reshape(-1, 64), np.asarray(excitation)
    step = seq.definitions["EchoSpacing"]
    assert len(time) == 8 * 2 * 5
    assert np.allclose(np.reshape(refocusing, (-1, 5)) - excitation[:, None], step * (np.arange(5) + 0.5), atol=1e-9)
    after = (time[:, 32].reshape(-1, 5) - excitation[4:, None]).ravel()
    assert np.allclose(after, np.asarray(seq.definitions["TE"])[labels["ECO"]], atol=1.1e-5)
    assert np.allclose(k[1, :, 32], (labels["LIN"] - 4) / 0.22, atol=1e-3)
    assert np.allclose(k[0, :, 32], 0, atol=1e-3)
    assert np.allclose(k[2], k[2, 0, 0], atol=1e-3)  # crushers are equal
    cells = np.column_stack([labels[name] for name in ("LIN", "SLC", "ECO")])
    assert len(np.unique(cells, axis=0)) == len(cells)
    assert np.allclose(np.diff(excitation[::2]), seq.definitions["TR"], atol=1e-9)
    if tr is not None:
        assert (step, seq.definitions["TR"]) == (pytest.approx(spacing, abs=2.1e-5), pytest.approx(tr, abs=2.1e-5))


@pytest.mark.parametrize("b1", [1.0, 0.9])
def test_echoes_decay_with_t2_and_images_are_sorted_by_echo(b1, tmp_path):
    protocol = Protocol(matrix=(16, 4), echoes=5, echo_spacing=15e-3, tr=6.0, bandwidth=800.0, dummies=0)
    build(protocol, PRISMA).write(str(tmp_path / "echoes.seq"))
    phantom = single_voxel(Tissue(1.0, 1.0, 0.08), (13.75e-3, 55e-3, 5e-3), b1=b1)
    images = reconstruct(acquire(tmp_path / "echoes.seq", phantom, PRISMA))
    assert [contrast["ECO"] for contrast in images.contrasts] == [0, 1, 2, 3, 4]
    echoes = np.abs(images.values).max(axis=(1, 2, 3))
    error = np.abs(echoes / echoes[0] / np.exp(-15e-3 * np.arange(5) / 0.08) - 1).max()
    assert error < (0.01 if b1 == 1 else 0.1)  # an error of B1 is a second-order one (CPMG)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"echo_spacing = 2 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(echo_spacing=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 50 ms is too short"):
        build(Protocol(tr=50e-3), PRISMA)
    with pytest.raises(ProtocolError, match="even numbers"):
        Protocol(matrix=(32, 31))
