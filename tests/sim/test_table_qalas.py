"""The calibrated QALAS model against extended phase graphs with diffusion of the very `.seq`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pulsetwin.recon.qalas.fit import fit
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.phantom_nist import nist_reference
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_pulses import calibrate
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.sim.table import simulate_table
from pulsetwin.sim.timeline_from_seq import as_seq_file, timeline_from_seq

TISSUES = torch.tensor([[0.85, 0.07, 0.7e-9], [1.35, 0.085, 0.8e-9], [4.0, 1.8, 3e-9]], dtype=torch.float64)
PLATE = torch.tensor([(t1, t2, 2e-9) for t1, t2 in nist_reference("t2")[:10]], dtype=torch.float64)


def sequence(**more) -> SeqFile:
    """One TR of 127 lines of 1 mm, the centre of k-space first, after 4 dummies."""
    protocol = qalas.Protocol(
        matrix=(4, 12, 12), fov=(0.004, 0.012, 0.012), calibration=0, acceleration=None, te=None, dummies=4, **more
    )
    return as_seq_file(qalas.build(protocol, Scanner.preset("siemens-prisma")))


def first_echoes(seq: SeqFile, tissues: torch.Tensor, b1: float) -> torch.Tensor:
    """Signals ``[tissue, 5]`` at the centre of k-space, each by a coil of its own, without the decay until the echo."""
    count, (t1, t2, diffusion) = len(tissues), tissues.T
    one = torch.ones(count, dtype=torch.float64)
    voxels = Voxels(
        position=1e-3 * torch.arange(count).double()[:, None] * torch.eye(3, dtype=torch.float64)[0],
        proton_density=one, t1=t1, t2=t2, t2_prime=math.inf * one, diffusion=diffusion, b0=0 * one,
        b1=b1 * one[None].to(torch.complex128), coils=torch.eye(count, dtype=torch.complex128), size=(1e-3,) * 3,
        shape="sinc",
    )  # fmt: skip
    signal = simulate_table(timeline_from_seq(seq), voxels)[0].reshape(count, 5, 127, -1)[:, :, 0]
    signal = signal[..., signal.shape[-1] // 2].to(torch.complex128)
    last = signal[:, 4:]
    return (signal * last.conj() / last.abs()).real * torch.exp(seq.definitions["TE"] / t2)[:, None]


@pytest.fixture(scope="module")
def played():
    seq = sequence()
    return seq, QalasTiming.from_definitions(seq.definitions)


@pytest.mark.slow
def test_calibrated_model_is_within_three_thousandths(played):
    """Of the largest contrast, with diffusion, in white matter, grey matter and fluid."""
    seq, timing = played
    found = first_echoes(seq, TISSUES, 1.0)
    model = signals(timing, TISSUES[:, 0], TISSUES[:, 1], pulses=calibrate(seq))
    assert ((found - model).abs().amax(1) / model.abs().amax(1)).max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("b1", [0.8, 1.0, 1.2])
def test_nist_plate_comes_out_right(played, b1):
    """Calibrated: T2 within 1 % and T1 within 0.5 %, for T2 from 32 to 190 ms; paper mode: regression."""
    seq, timing = played
    data, field = first_echoes(seq, PLATE, b1).numpy(), np.full(len(PLATE), b1)
    t1, t2 = PLATE[:, 0].numpy(), PLATE[:, 1].numpy()
    found = fit(data, timing, field, pulses=calibrate(seq, diffusion=2e-9))
    some = (t2 > 0.031) & (t2 < 0.192)
    assert np.abs(found.t1 / t1 - 1)[some].max() < 5e-3
    assert np.abs(found.t2 / t2 - 1)[some].max() < 1e-2
    paper = fit(data, timing, field)
    for value, truth, low, high in ((paper.t1, t1, 0.6, 3.2), (paper.t2, t2, 0.04, 0.26)):
        chosen = (truth > low) & (truth < high)
        slope, _ = np.polyfit(truth[chosen], value[chosen], 1)
        assert 0.95 < slope < 1.05
        assert np.corrcoef(truth[chosen], value[chosen])[0, 1] ** 2 > 0.999
