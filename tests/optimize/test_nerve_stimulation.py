"""Nerve stimulation of a timeline against that of the `.seq` with the same gradients, and its slope."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch
from scipy.optimize import brentq

from pulsetwin.errors import ProtocolError
from pulsetwin.export.nerve_stimulation import CAUTION, EXAMPLE_AXES
from pulsetwin.export.nerve_stimulation import nerve_peak as peak_of_file
from pulsetwin.export.nerve_stimulation import stimulation as of_file
from pulsetwin.export.realise import realise
from pulsetwin.optimize.nerve_stimulation import nerve_excess, nerve_peak, played_gradients, stimulation
from pulsetwin.optimize.schemes import gradient_echoes, spin_echoes
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.timeline import Timeline

PRISMA = Scanner.preset("siemens-prisma")


def wild(seed=3):
    """Return a timeline of two repetitions with random moments."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([4e-4, 6e-5, 6e-5, 2e-4, 3e-4, 6e-5, 6e-5, 8e-4], dtype=torch.float64)
    empty = Timeline.zeros(lengths, torch.tensor([4, 4]), torch.tensor([True, True, True, False] * 2))
    mean = 2e5 * torch.randn(8, 3, generator=generator, dtype=torch.float64)
    mean[[2, 6]] = mean[[1, 5]]  # even readouts
    return replace(empty, moment=mean * lengths[:, None])


@pytest.mark.parametrize("timeline", [wild(), spin_echoes(matrix=8).timeline()], ids=["wild", "spin echoes"])
def test_played_gradients_have_the_moments_and_the_slices(timeline):
    time, gradient = played_gradients(timeline, PRISMA, 5e-3)
    assert bool((time.diff() > 0).all())
    area = ((gradient[1:] + gradient[:-1]) / 2 * time.diff()[:, None]).cumsum(0)
    sums = timeline.moment.cumsum(0)
    distance = (area[:, None] - sums).abs().amax(2)
    tolerance = 1e-9 * float(timeline.moment.abs().max())
    assert float(distance.amin(0).max()) < tolerance
    firsts = [int((distance[:, n] < tolerance).nonzero()[0]) for n in range(len(sums))]
    assert firsts == sorted(firsts)
    assert float(time[-1]) >= float(timeline.duration.sum()) - 1e-12
    selecting = torch.tensor([0, 0, 4 / 2e-3 / 5e-3], dtype=torch.float64)
    pulses = [0, *(firsts[n - 1] + 1 for n in timeline.interval_start[1:])]
    torch.testing.assert_close(gradient[pulses], selecting.expand(len(pulses), 3))


BENT = {"centre": 15, "readout": 60, "bend": 20, "spoil": 150}


@pytest.mark.parametrize(
    ("scheme", "spread", "most"),
    [
        (gradient_echoes(matrix=24), {}, 1.2),
        (gradient_echoes(matrix=24, thickness=0.05), {}, 1.2),
        (gradient_echoes(matrix=24, trajectory="radial"), {}, 1.2),
        (gradient_echoes(matrix=24), BENT, 1.2),
        (spin_echoes(matrix=24), {}, 1.2),
    ],
    ids=["cartesian", "thick", "radial", "bent", "spin echoes"],
)
def test_the_peak_is_near_that_of_the_realised_sequence_and_not_below(scheme, spread, most, tmp_path):
    generator = torch.Generator().manual_seed(2)
    values = {
        name: scheme.values[name] + size * torch.randn(scheme.values[name].shape, generator=generator).double()
        for name, size in spread.items()
    }
    timeline = scheme.timeline(values)
    realise(timeline, PRISMA, fov=scheme.fov).sequence.write(str(tmp_path / "a.seq"))
    checked = peak_of_file(read_seq(tmp_path / "a.seq"), PRISMA).percent
    assert 0.97 * checked < float(nerve_peak(timeline, PRISMA, scheme.fov[2])) < most * checked


def test_stimulation_is_that_of_the_same_gradients_in_a_file(tmp_path):
    rng = np.random.default_rng(5)
    time = 1e-5 * np.concatenate(([0], np.cumsum(rng.integers(3, 40, 24))))
    gradient = 2e5 * rng.normal(size=(25, 3))
    gradient[[0, -1]] = 0
    loose = pp.Opts(max_grad=1e3, grad_unit="mT/m", max_slew=1e5, slew_unit="T/m/s")
    sequence = pp.Sequence(loose)
    lines = [
        pp.make_extended_trapezoid(axis, amplitudes=gradient[:, n], times=np.round(time, 9), system=loose)
        for n, axis in enumerate("xyz")
    ]
    sequence.add_block(*lines)
    sequence.write(str(tmp_path / "a.seq"))
    raster = 1e-6
    pieces = of_file(read_seq(tmp_path / "a.seq"), EXAMPLE_AXES, PROTON, raster)
    fine = np.linalg.norm(np.hstack([percent for _, percent in pieces]), axis=0)
    knots = np.round(time[1:] / raster).astype(int) - 1
    ours = 100 * stimulation(torch.from_numpy(time), torch.from_numpy(gradient), EXAMPLE_AXES).numpy()
    np.testing.assert_allclose(ours, fine[knots], atol=0.02 * fine.max())
    assert ours.max() == pytest.approx(fine.max(), rel=0.02)


def test_slopes_are_those_of_differences():
    timeline = wild()

    def told(moment, duration):
        changed = replace(timeline, moment=moment * timeline.moment, duration=duration * timeline.duration)
        return stimulation(*played_gradients(changed, PRISMA, 5e-3), EXAMPLE_AXES)

    inputs = (torch.ones_like(timeline.moment).requires_grad_(), torch.ones_like(timeline.duration).requires_grad_())
    assert torch.autograd.gradcheck(told, inputs)


def test_only_what_the_check_would_warn_of_counts():
    timeline = gradient_echoes(matrix=8).timeline()

    def stronger(factor):
        return replace(timeline, moment=factor * timeline.moment)

    def beyond(factor):
        return float(nerve_peak(stronger(factor), PRISMA, 8e-3)) - CAUTION

    factor = brentq(beyond, 1, 100)
    assert float(nerve_excess(stronger(0.99 * factor), PRISMA, 8e-3)) == 0
    moment = (1.1 * factor * timeline.moment).requires_grad_()
    excess = nerve_excess(replace(timeline, moment=moment), PRISMA, 8e-3)
    excess.backward()
    assert float(excess.detach()) >= (beyond(1.1 * factor) / CAUTION) ** 2 * 0.999 > 0
    assert float((moment.grad * timeline.moment).sum()) > 0
    with pytest.raises(ProtocolError, match="no coefficients"):
        nerve_excess(timeline, Scanner.preset("bruker-biospec-94"), 8e-3)
