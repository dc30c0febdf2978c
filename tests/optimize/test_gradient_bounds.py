"""Moments within their bounds can be played: by the steps of the gradients, and by the writer of sequences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.export.realise import realise
from pulsetwin.optimize.experiment import GradientEchoes, experiment_from, scheme_of
from pulsetwin.optimize.gradient_bounds import gradient_bounds
from pulsetwin.optimize.penalties import mean_gradients
from pulsetwin.optimize.problem import problem_of
from pulsetwin.scanner import PROTON, Scanner

PRISMA = Scanner.preset("siemens-prisma")
SEQUENCE = GradientEchoes(matrix=24, te=6e-3, tr=20e-3)


def at_the_bounds(seed, sequence=SEQUENCE):
    """Return the scheme and values that are at one of their bounds each."""
    scheme = scheme_of(sequence)
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, largest in gradient_bounds(sequence, 4, PRISMA).items():
        sign = torch.randint(2, scheme.values[name].shape, generator=generator, dtype=torch.float64) * 2 - 1
        values[name] = sign * largest
    return scheme, values


@pytest.mark.parametrize("seed", range(3))
def test_readouts_keep_amplitude_and_slew_rate_and_nearly_reach_them(seed):
    scheme, values = at_the_bounds(seed)
    timeline = scheme.timeline(values)
    inside = torch.ones(24, 25, dtype=torch.bool)
    inside[:, [0, -1]] = False
    gradient = mean_gradients(timeline)[inside.flatten()].reshape(24, 23, 3) / PROTON
    slew = gradient.diff(dim=1).abs().max() / SEQUENCE.dwell
    assert float(gradient.abs().max()) <= PRISMA.max_gradient
    assert 0.3 * PRISMA.max_slew < float(slew) <= PRISMA.max_slew
    straight = scheme.timeline(values | {"bend": torch.zeros_like(values["bend"])})
    steady = mean_gradients(straight)[inside.flatten()].abs().max() / PROTON
    assert float(steady) == pytest.approx(PRISMA.max_gradient / 2, rel=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_what_lies_within_is_realised_in_the_time_that_was_learnt(seed):
    """Half of the lobes' moments, as pulses of 2 ms and their slice gradients take some of the time."""
    scheme, values = at_the_bounds(seed)
    values |= {"centre": values["centre"] / 2, "spoil": values["spoil"] / 2, "bend": torch.zeros_like(values["bend"])}
    assert realise(scheme.timeline(values), PRISMA, fov=scheme.fov).longer == {}
    twice = {name: 4 * value for name, value in values.items()}
    assert realise(scheme.timeline(twice), PRISMA, fov=scheme.fov).longer


def test_finite_pulses_take_more_time_at_the_bounds_as_the_how_to_says():
    scheme, values = at_the_bounds(0, GradientEchoes())
    longer = realise(scheme.timeline(values), PRISMA, fov=scheme.fov).longer
    assert longer == {"pulse to readout": pytest.approx(1.65e-3), "readout to pulse": pytest.approx(1.72e-3)}
    told = (Path(__file__).resolve().parents[2] / "docs/how-to/optimise.md").read_text("utf-8")
    assert "by 1.65 ms before the readout and 1.72 ms after it" in told


def test_lobes_within_reach_by_hand():
    """Of 3 ms at 80 mT/m and 200 T/m/s, 0.4 ms are one ramp, 0.8 ms two more: 1.8 ms of the strongest, less the end."""
    scanner = replace(PRISMA, max_gradient=80e-3, max_slew=200.0)
    sequence = GradientEchoes(matrix=24, te=3e-3 + 12 * 40e-6, tr=20e-3)
    found = gradient_bounds(sequence, 4, scanner)
    lead = PROTON * 80e-3 * (3e-3 - 0.4e-3 - 0.4e-3 - 0.2e-3)
    assert found["centre"] + found["readout"] / 2 == pytest.approx(lead)


def test_an_experiment_learns_within_them():
    tables = {
        "sequence": {"kind": "gradient_echoes", "matrix": 8}, "phantom": {"name": "shepp-logan"},
        "learn": {"free": ["readout", "bend"], "start": "zero", "spread": 10.0}, "limits": {"gradients": True},
    }  # fmt: skip
    problem = problem_of(experiment_from(tables, "file"))
    bend = problem.parameters["bend"]
    assert bool((bend.start.abs() <= bend.high).all())
    assert bool((bend.value(torch.full((8, 4, 2), 1e3)).abs() <= bend.high).all())
    spin_echoes = {"sequence": {"kind": "spin_echoes", "matrix": 8}, "learn": {"free": ["refocusing"]}}
    with pytest.raises(ProtocolError, match="no gradients to learn"):
        experiment_from(spin_echoes | {"limits": {"gradients": True}}, "file")
    with pytest.raises(ProtocolError, match="too short for ramps"):
        gradient_bounds(GradientEchoes(matrix=24, te=0.6e-3), 4, PRISMA)
