"""CEST-MRF schedules that are learnt: their model is the engine's, their bound that of maps, their limits are kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.cest_design import (
    Limits,
    bound,
    design,
    frame_of,
    protocol_with,
    signals,
    tissues,
    values_of,
    within,
)  # fmt: skip
from pulsetwin.recon.cest_mrf.problem import predicted, problem_of
from pulsetwin.recon.cest_mrf.uncertainty import deviations
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from tests.sequences.nonlines import errors

MM = 3 / 110e3
BIOSPEC = Scanner.preset("bruker-biospec-94")
MODEL = PoolModel(2.8, 0.9, (Pool("amine", 50 * MM, 400.0, 3.0, 2.8, 0.04),), 9.4, reset=False)
SHORT = Protocol(
    b1=tuple(1e-6 * value for value in (5, 3, 2.5, 6, 0.25, 4.5, 1.75, 3.75)), offset=(3.0,), saturation="cw",
    saturation_time=(3.0,), flip_angle=(math.pi / 3,), recovery=(0.96,), readout="epi", matrix=(16, 16, 1),
    fov=(0.032, 0.032, 0.003), bandwidth=3000.0,
)  # fmt: skip
VARIED = replace(
    SHORT, offset=(3.0, 2.5, 3.5, 1.2, -3.0, 2.0, 4.0, 3.0), saturation_time=(3.0, 0.5, 2.0, 1.0, 4.0, 0.3, 2.5, 3.0)
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """What the engine of maps sees of the file."""
    path = tmp_path_factory.mktemp("cest") / "varied.seq"
    assert errors(build(VARIED, BIOSPEC), path, BIOSPEC) == []
    return problem_of(read_seq(path), MODEL, mode="physical", observe="transverse", normalisation="none")


def cases():
    frame = frame_of(VARIED, MODEL, BIOSPEC)
    tissue = tissues(frame, (25 * MM, 100 * MM), (100.0, 700.0))
    table = np.stack([value.numpy() for name, value in tissue.items() if name != "m0"], 1)
    return frame, tissue, table


def test_signals_are_those_of_the_engine(engine):
    """Played from the file with pulses of finite length, in which relaxation and exchange scale all signals alike."""
    frame, tissue, table = cases()
    found = signals(frame, values_of(VARIED), tissue).numpy()
    wanted = predicted(engine, list(tissue)[:-1], table)
    assert np.allclose(found, wanted, rtol=4e-3)
    assert np.allclose(found * (wanted.sum(1) / found.sum(1))[:, None], wanted, rtol=1e-3)


def test_bound_is_that_of_maps(engine):
    """The same of the file by derivatives of the compiled engine, of signals of unit length: their scale is unknown."""
    frame, tissue, table = cases()
    own = replace(engine, normalisation="l2")
    values = dict(zip(list(tissue)[:-1], table.T, strict=True))
    size = np.linalg.norm(predicted(engine, list(values), table), axis=1)
    wanted = deviations(own, values, {}, noise=0.01 / size)["amine.exchange_rate"] / values["amine.exchange_rate"]
    assert np.allclose(bound(frame, values_of(VARIED), tissue).sqrt().numpy(), wanted, rtol=0.05)


def test_derivatives_by_the_schedule():
    """Those of the bound are its differences."""
    frame, tissue, _ = cases()
    one = {name: value[:1] for name, value in tissue.items()}
    start = {name: value.clone().requires_grad_() for name, value in values_of(VARIED).items()}
    total = bound(frame, start, one).sum()
    slopes = torch.autograd.grad(total, list(start.values()))
    for (name, value), slope, step in zip(start.items(), slopes, (1e-11, 1e-6, 1e-6), strict=True):
        for at in (1, 4):
            ends = []
            for sign in (1, -1):
                moved = value.detach().clone()
                moved[at] += sign * step
                ends.append(bound(frame, {**values_of(VARIED), name: moved}, one).sum().item())
            assert slope[at].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3), name


def test_time_and_energy_are_kept():
    learnt = {
        "b1": torch.tensor([6e-6, 1e-6, 5e-6], dtype=torch.float64), "offset": torch.zeros(3, dtype=torch.float64),
        "share": torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64),
    }  # fmt: skip
    found = within(learnt, 6.0, 3e-11, 0.1)
    assert found["saturation_time"].sum().item() == pytest.approx(6.0)
    assert found["saturation_time"].min() > 0.1
    assert (found["b1"] ** 2 * found["saturation_time"]).sum().item() == pytest.approx(3e-11)
    loose = within(learnt, 6.0, 1.0, 0.1)
    assert torch.equal(loose["b1"], learnt["b1"])


@pytest.mark.slow
def test_learns(tmp_path):
    """A few steps lower the bound in all tissues, by a protocol that is no longer nor stronger and passes the check."""
    frame, tissue, _ = cases()
    limits = Limits()
    learnt, _ = design(SHORT, MODEL, BIOSPEC, tissue, limits=limits, steps=12)
    before, after = values_of(SHORT), values_of(learnt)
    assert (bound(frame, after, tissue) / bound(frame, before, tissue)).max() < 0.85
    assert after["saturation_time"].sum() <= before["saturation_time"].sum()
    energy = [float((one["b1"] ** 2 * one["saturation_time"]).sum()) for one in (before, after)]
    assert energy[1] <= energy[0]
    assert after["b1"].max() <= limits.b1[1]
    assert after["offset"].min() >= limits.offset[0]
    assert after["offset"].max() <= limits.offset[1]
    assert errors(build(learnt, BIOSPEC), tmp_path / "learnt.seq", BIOSPEC) == []
    assert torch.allclose(values_of(protocol_with(learnt, after))["b1"], after["b1"])


@pytest.mark.parametrize(("change", "told"), [
    ({"saturation": "spin_lock"}, "saturation = spin_lock"), ({"crushing": 0.0}, "crushing = 0"),
    ({"recovery": (0.9, 1.0) * 4}, "flip_angle and recovery: give one of each"),
])  # fmt: skip
def test_says_what_it_does_not_describe(change, told):
    with pytest.raises(ProtocolError, match=told):
        frame_of(replace(SHORT, **change), MODEL, BIOSPEC)
