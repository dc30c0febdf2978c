"""Penalties against counts and closed forms, and learning under constraints against a known corner."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pulsetwin.optimize import penalties
from pulsetwin.optimize.constrained import optimise_under
from pulsetwin.optimize.loop import Loss
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.optimize.penalties import (
    duration,
    flip_power,
    gradient_excess,
    rf_energy,
    roughness,
    slew_excess,
    uncovered,
)
from pulsetwin.optimize.schemes import gradient_echoes
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sim.timeline import PulseShape

PRISMA = Scanner.preset("siemens-prisma")


def test_power_and_energy_of_blocks():
    timeline = gradient_echoes(matrix=8).timeline()
    flip = math.radians(5)
    assert float(flip_power(timeline.flip_angle)) == pytest.approx(8 * flip**2)
    b1 = flip / (2 * math.pi * 1e-3)  # Hz, of a block of 1 ms
    assert float(rf_energy(timeline)) == pytest.approx(8 * b1**2 * 1e-3)
    half = torch.tensor([1e-3, 1e-3], dtype=torch.float64)
    shape = PulseShape(half, torch.tensor([100.0, 300.0j]), torch.zeros(2, 3, dtype=torch.float64), 1e-3, flip / 2)
    shaped = replace(timeline, shapes=(shape,), shape=torch.zeros(8, dtype=torch.int64))
    assert float(rf_energy(shaped)) == pytest.approx(8 * 4 * (100**2 + 300**2) * 1e-3)


def test_gradients_count_only_beyond_the_limits():
    timeline = gradient_echoes(matrix=8, fov=0.2).timeline()
    assert float(gradient_excess(timeline, PRISMA)) == 0
    moment = torch.zeros_like(timeline.moment)
    moment[3, 1] = 3 * PRISMA.max_gradient * PROTON * timeline.duration[3]
    assert float(gradient_excess(replace(timeline, moment=moment), PRISMA)) == pytest.approx(4.0)
    ramp = PRISMA.max_slew * PROTON * float(timeline.duration[3])  # of neighbours as long as it
    moment[3, 1] = 2 * ramp * timeline.duration[3]
    assert float(slew_excess(replace(timeline, moment=moment), PRISMA)) == pytest.approx(2.0)
    assert float(duration(timeline)) == pytest.approx(8 * 20e-3)


def cells(rows, columns):
    """Return the places of all cells in steps of 1 over the field of view, x first, [cell, 3]."""
    y, x = torch.meshgrid(torch.arange(rows) - rows // 2, torch.arange(columns) - columns // 2, indexing="ij")
    return torch.stack((x, y, 0 * x), -1).reshape(-1, 3).double()


def test_coverage_is_an_energy_distance():
    """Against sums over pairs, with the even density as 60 x 60 points in the rectangle of 6 x 9 cells."""
    rows, columns, fine = 6, 9, 60
    samples = 3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    part = (torch.arange(fine) + 0.5) / fine
    x, y = -4.5 + columns * part, -3.5 + rows * part
    even = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2).double()

    def distance(points):
        pairs = [torch.cdist(one, other).mean() for one, other in ((points, even), (points, points), (even, even))]
        return 2 * pairs[0] - pairs[1] - pairs[2]

    middle = torch.tensor([[0.0, -0.5]], dtype=torch.float64)
    expected = float(distance(samples[:, :2]) / distance(middle))
    fov = (0.2, 0.3, 0.01)
    played = samples / torch.tensor(fov, dtype=torch.float64)
    assert float(uncovered(played, fov, (rows, columns))) == pytest.approx(expected, rel=2e-3)


def test_coverage_pulls_samples_to_gaps_far_away():
    fov = (1.0, 1.0, 0.01)
    full = cells(8, 8)
    jitter = 0.3 * torch.randn(full.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert 0 < float(uncovered(full, fov, (8, 8))) < float(uncovered(full + jitter, fov, (8, 8))) < 0.01
    assert float(uncovered(full[:32], fov, (8, 8))) > 0.4
    centre = torch.full((9, 3), -0.5, dtype=torch.float64)
    assert float(uncovered(centre, fov, (8, 8))) == pytest.approx(1.0)
    crowd = full[full[:, 0] < -2].requires_grad_()
    uncovered(crowd, fov, (8, 8)).backward()
    assert bool((crowd.grad[:, 0] < 0).all())


@pytest.mark.parametrize("number", [1, 2, 1500, 2400])
def test_coverage_and_its_slopes_are_those_of_all_distances_at_once(number, monkeypatch):
    """Some points coincide; 2400 make several blocks."""
    places = 10 * torch.randn(number, 3, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    places[: number // 3] = places[-(number // 3) :] if number > 2 else places[: number // 3]

    def found():
        point = places.clone().requires_grad_()
        value = uncovered(point, (1.0, 1.0, 0.01), (24, 24))
        value.backward()
        return float(value.detach()), point.grad

    value, slope = found()
    monkeypatch.setattr(penalties, "_distances", lambda place: torch.pdist(place).sum())
    expected, expected_slope = found()
    assert value == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(slope, expected_slope, rtol=1e-9, atol=1e-15)


def test_coverage_of_many_samples_keeps_no_distance_of_each_pair():
    """Of 192 x 192 samples all pairs are 5.4 GB; the numbers that autograd keeps beyond the call are counted."""
    kept = []
    place = torch.rand(3000, 3, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        uncovered(place, (1.0, 1.0, 0.01), (64, 64))
    assert sum(kept) < len(place) ** 2 / 10


def test_roughness():
    assert float(roughness(torch.tensor([1.0, 3.0, 3.0]))) == pytest.approx(4 / 19)


def test_constraints_are_met_where_the_minimum_lies_beyond_them(tmp_path):
    """The point of x + y <= 1 nearest to (2, 1) is (1, 0)."""

    def loss(values, step, generator):
        return Loss((values["x"] - torch.tensor([2.0, 1.0])).square().sum())

    def constraints(values):
        x, y = values["x"]
        return torch.stack((x + y - 1, x - 5))

    parameters = {"x": Parameter(torch.zeros(2))}
    settings = {"method": "lbfgs", "steps": 15, "rate": 1.0, "rounds": 8, "checkpoint": tmp_path / "state.pt"}
    learnt, found = optimise_under(loss, constraints, parameters, **settings)
    assert learnt.values["x"].tolist() == pytest.approx([1.0, 0.0], abs=1e-4)
    assert float(found[0]) == pytest.approx(0, abs=1e-4)
    again, _ = optimise_under(loss, constraints, parameters, **settings)
    assert torch.equal(again.values["x"], learnt.values["x"])
    assert learnt.step == len(learnt.history) == 120
