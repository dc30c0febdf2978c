"""Multi-echo spin echo: times, places and labels by pypulseq's own tracing, the decay, and T2 of an image."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.sequences.multi_echo import Protocol, build
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import vials
from tests.sequences.nonlines import EDGE, PRISMA, Scanner, errors
from tests.world import at_voxels


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


def test_t2_of_an_image(tmp_path):
    tissues = [Tissue(1.0, 1.0, 0.04), Tissue(1.0, 1.2, 0.12)]
    protocol = Protocol(matrix=(16, 12), echoes=3, echo_spacing=20e-3, tr=6.0, bandwidth=800.0, dummies=0)
    build(protocol, PRISMA).write(str(tmp_path / "echoes.seq"))
    phantom = vials((1, 12, 16), protocol.fov, tissues=tissues)
    images = reconstruct(acquire(tmp_path / "echoes.seq", phantom, PRISMA, tol=5e-2))
    assert [contrast["ECO"] for contrast in images.contrasts] == [0, 1, 2]
    echoes = np.stack([np.abs(at_voxels(image, images.affine, phantom)) for image in images.values])
    for one in tissues:
        inside = (phantom.proton_density.numpy() > 0.9) & np.isclose(phantom.t2.numpy(), one.t2, rtol=0.01)
        assert inside.sum() >= 2
        signal = echoes[:, inside].sum(1)
        assert np.allclose(signal / signal[0], np.exp(-20e-3 * np.arange(3) / one.t2), atol=0.03)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"echo_spacing = 2 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(echo_spacing=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 50 ms is too short"):
        build(Protocol(tr=50e-3), PRISMA)
    with pytest.raises(ProtocolError, match="even numbers"):
        Protocol(matrix=(32, 31))
