"""QALAS that is learnt: a better bound, a protocol that builds and passes the check, fits that are as much better."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.qalas_design import (
    BRAIN,
    Limits,
    bound,
    design,
    protocol_with,
    tightest,
    timing_of,
    tissues,
    with_waits,
)  # fmt: skip
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.sequences.qalas import Protocol, build
from pulsetwin.sim.signal_models.qalas import signals
from tests.sequences.nonlines import PRISMA, errors

LEARNT = Protocol(
    flip_angle=tuple(math.radians(angle) for angle in (5.6, 4.2, 6.5, 2.1, 4.6)), t2prep_te=0.0977,
    inversion_gap=0.7873, ti=0.02818, gap=0.9456,
)  # fmt: skip
"""What `design` ends with, rounded."""


def test_published_bounds():
    """Deviations for noise of 1 % of white matter's fifth signal, by other code: 3.7 to 79 %."""
    timing, tissue = timing_of(Protocol(), PRISMA), tissues(b1=(1.0,))
    signal = signals(timing, *torch.tensor(BRAIN["white matter"], dtype=torch.float64), ie=0.95)[4]
    deviations = 100 * float(signal) * bound(timing, tissue).sqrt().numpy()
    assert np.allclose(deviations[..., 0], [[3.7, 3.1], [5.1, 3.5], [19.7, 79]], rtol=0.04)
    assert np.allclose(deviations[..., 1], [[3.3, 3.1], [4.4, 3.4], [10.6, 73]], rtol=0.04)


def test_waits_fill_the_repetition():
    """What is learnt keeps the repetition time, and the protocol plays it to the rasters."""
    start = Protocol()
    least = tightest(start, PRISMA)
    values = {
        "flip_angle": torch.tensor([0.09, 0.06, 0.1, 0.04, 0.08], dtype=torch.float64),
        "t2prep_te": torch.tensor(0.08, dtype=torch.float64),
        "share": torch.tensor([0.3, -0.5, 1.0, 0.0], dtype=torch.float64),
    }
    wanted = with_waits(least, 4.50002, values)
    played = timing_of(protocol_with(start, least, wanted, PRISMA), PRISMA)
    assert played.repetition_time == pytest.approx(4.50002, abs=1e-9)
    assert np.allclose(played.train_starts, [float(one) for one in wanted.train_starts], atol=6e-5)
    assert played.inversion_start == pytest.approx(float(wanted.inversion_start), abs=6e-5)
    assert played.flip_angles == pytest.approx(values["flip_angle"].tolist(), rel=1e-6)


@pytest.mark.slow
def test_learns():
    """A few steps lower the worst bound by more than 15 %, by a protocol that passes the check, within the limits."""
    limits = Limits(flip_angle=(math.radians(3), math.radians(7)))
    learnt, run = design(Protocol(), PRISMA, limits=limits, steps=60)
    tissue = tissues()
    ratio = bound(timing_of(learnt, PRISMA), tissue) / bound(timing_of(Protocol(), PRISMA), tissue)
    assert ratio.max() < 0.85
    assert ratio.max().item() == pytest.approx(min(line["worst"] for line in run.history), rel=0.03)
    assert all(limits.flip_angle[0] <= angle <= limits.flip_angle[1] for angle in learnt.flip_angle)


def test_plays(tmp_path):
    """With few lines of the same resolution, which fill two trains."""
    few = replace(LEARNT, fov=(0.256, 0.024, 0.016), matrix=(256, 24, 16), acceleration=None)
    assert errors(build(few, PRISMA), tmp_path / "learnt.seq", PRISMA) == []


def test_fits_gain_as_the_bound():
    """Fits of noisy signals spread by at least 35 % less variance in grey and white matter, as the bound tells."""
    tissue = {name: value[:6] for name, value in tissues().items()}
    spread = []
    for protocol in (Protocol(), LEARNT):
        timing, rng = timing_of(protocol, PRISMA), np.random.default_rng(1)
        clean = signals(timing, tissue["t1"], tissue["t2"], ie=tissue["ie"], b1=tissue["b1"]).numpy()
        data = np.repeat(clean, 4000, 0) + 3e-4 * rng.standard_normal((24000, 5))
        maps = fit(data, timing, np.repeat(tissue["b1"].numpy(), 4000), ie="free")
        found = np.stack((maps.t1, maps.t2), 1).reshape(6, 4000, 2)
        spread.append(found.var(1) / np.stack((tissue["t1"], tissue["t2"]), 1) ** 2)
        assert np.allclose(spread[-1], 0.03**2 * bound(timing, tissue)[..., 0].numpy(), rtol=0.12)
    assert (spread[1] / spread[0]).max() < 0.65


def test_needs_a_repetition_time():
    with pytest.raises(ProtocolError, match="tr: give the repetition time"):
        design(replace(Protocol(), tr=None), PRISMA, steps=1)
