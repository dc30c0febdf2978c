"""Settings of the library's sequences freed: slopes of times, angles and signals, and angles known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.builder import from_builder, protocol_parameters
from pulsetwin.optimize.loop import Loss, optimise
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import flash
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel

PRISMA = Scanner.preset("siemens-prisma")
PROTOCOL = flash.Protocol(matrix=(8, 4, 1), te=5e-3, tr=20e-3, flip_angle=math.radians(15), dummies=0)
FREE = ("te", "tr", "flip_angle")


def number(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def test_times_and_angles_follow_their_settings():
    play = from_builder(flash.build, PROTOCOL, FREE, PRISMA)
    values = {name: number(getattr(PROTOCOL, name)) for name in FREE}
    timeline = play(values)
    between = timeline.duration[: timeline.interval_start[1]].sum()
    assert float(between.detach()) == pytest.approx(20e-3, abs=1e-9)
    slope = torch.autograd.grad(between, list(values.values()), retain_graph=True)
    assert [float(one) for one in slope] == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)
    sample = int(timeline.sample_interval[8])  # the middle of 16 samples
    echo = torch.autograd.grad(timeline.duration[: sample + 1].sum(), values["te"], retain_graph=True)[0]
    assert float(echo) == pytest.approx(1.0, abs=1e-6)
    angle = torch.autograd.grad(timeline.flip_angle.sum(), values["flip_angle"], retain_graph=True)[0]
    assert float(angle) == pytest.approx(4.0, rel=1e-4)
    moments = torch.autograd.grad(timeline.moment.square().sum(), list(values.values()), allow_unused=True)
    assert all(abs(float(one)) < 1e-3 * float(timeline.moment.detach().square().sum()) for one in moments)


def test_slopes_of_the_signal_are_those_of_sequences_built_apart():
    voxels = single_voxel(Tissue(1.0, 0.5, 0.05, 0.03, 0.0), b0=20.0).voxels()
    play = from_builder(flash.build, PROTOCOL, FREE, PRISMA)

    def size(values):
        return simulate_graphs(play(values), voxels, max_states=64).signal[0].abs().square().sum()

    values = {name: number(getattr(PROTOCOL, name)) for name in FREE}
    slopes = torch.autograd.grad(size(values), list(values.values()))
    for name, slope in zip(FREE, slopes, strict=True):
        step = 0.02 if name == "flip_angle" else 4e-4
        ends = [{n: v.detach() + sign * step * (n == name) for n, v in values.items()} for sign in (1, -1)]
        expected = (size(ends[0]) - size(ends[1])) / (2 * step)
        assert float(slope) == pytest.approx(float(expected), rel=0.02), name


@pytest.mark.parametrize("lines", [4, 64])
def test_phases_of_rf_spoiling_follow_their_increment_through_whole_turns(lines):
    """Of pulse n, n (n + 1) / 2 increments: up to 20 turns from one step of 0.01 rad to the other."""
    protocol = replace(PROTOCOL, matrix=(8, lines, 1))
    played = from_builder(flash.build, protocol, ("rf_spoiling",), PRISMA)
    count = torch.arange(lines, dtype=torch.float64)
    expected = count * (count + 1) / 2
    increment = number(protocol.rf_spoiling)
    for phase, slope in (("phase", -expected), ("sample_phase", expected.repeat_interleave(16))):
        weight = torch.ones_like(slope, requires_grad=True)
        value = getattr(played({"rf_spoiling": increment}), phase)
        found = torch.autograd.grad(torch.autograd.grad(value @ weight, increment, create_graph=True)[0], weight)[0]
        assert found.tolist() == pytest.approx(slope.tolist(), abs=1e-3), phase


@pytest.mark.slow
def test_the_strongest_signal_is_at_the_ernst_angle():
    t1, tr = 0.1, 20e-3
    protocol = replace(PROTOCOL, tr=tr, dummies=24, matrix=(8, 2, 1), flip_angle=math.radians(15))
    voxels = single_voxel(Tissue(1.0, t1, 0.02, 0.02, 0.0)).voxels()
    play = from_builder(flash.build, protocol, ("flip_angle",), PRISMA)

    def loss(values, step, generator):
        signal = simulate_graphs(play(values), voxels, max_states=64).signal[0]
        return Loss(-signal.abs().square().sum())

    found = optimise(loss, protocol_parameters(protocol, ("flip_angle",)), method="lbfgs", steps=8, rate=1.0)
    ernst = math.acos(math.exp(-tr / t1))
    assert float(found.best["flip_angle"]) == pytest.approx(ernst, rel=0.02)


def test_what_holds_no_number_is_refused():
    for name in ("matrix", "tea"):
        with pytest.raises(ProtocolError, match=f"'{name}' is no setting"):
            from_builder(flash.build, PROTOCOL, (name,), PRISMA)
    with pytest.raises(ProtocolError, match="'te' is no setting"):
        protocol_parameters(replace(PROTOCOL, te=None), ("te",))
