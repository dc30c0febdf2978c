"""Nerve stimulation of a timeline against that of the `.seq` with the same gradients, and its slope."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.export.nerve_stimulation import CAUTION, EXAMPLE_AXES
from pulsetwin.export.nerve_stimulation import stimulation as of_file
from pulsetwin.optimize.nerve_stimulation import nerve_excess, played_gradients, stimulation
from pulsetwin.optimize.schemes import gradient_echoes, spin_echoes
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.timeline import Timeline

PRISMA = Scanner.preset("siemens-prisma")


def wild(seed=3):
    """Return a timeline of two repetitions with random moments, its knots on the gradient raster."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([4e-4, 6e-5, 6e-5, 2e-4, 3e-4, 6e-5, 6e-5, 8e-4], dtype=torch.float64)
    empty = Timeline.zeros(lengths, torch.tensor([4, 4]), torch.tensor([True, True, True, False] * 2))
    mean = 2e5 * torch.randn(8, 3, generator=generator, dtype=torch.float64)
    mean[[2, 6]] = mean[[1, 5]]  # even readouts
    return replace(empty, moment=mean * lengths[:, None])


@pytest.mark.parametrize("timeline", [wild(), spin_echoes(matrix=8).timeline()], ids=["wild", "spin echoes"])
def test_played_gradients_have_the_moments(timeline):
    time, gradient = played_gradients(timeline)
    areas = ((gradient[1:] + gradient[:-1]) / 2 * time.diff()[:, None]).reshape(-1, 2, 3).sum(1)
    torch.testing.assert_close(areas, timeline.moment, atol=1e-9, rtol=1e-9)
    pulses = 2 * timeline.interval_start
    assert float(gradient[pulses].abs().max()) == 0
    even = gradient[2:5]  # of the first readout, between its first two samples
    if len(timeline.duration) == 8:
        torch.testing.assert_close(even, timeline.moment[1].expand(3, 3) / timeline.duration[1])


def test_stimulation_is_that_of_the_same_gradients_in_a_file(tmp_path):
    time, gradient = (one.numpy() for one in played_gradients(wild()))
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
        return stimulation(*played_gradients(changed), EXAMPLE_AXES)

    inputs = (torch.ones_like(timeline.moment).requires_grad_(), torch.ones_like(timeline.duration).requires_grad_())
    assert torch.autograd.gradcheck(told, inputs)


def test_only_what_the_check_would_warn_of_counts():
    timeline = gradient_echoes(matrix=8).timeline()
    time, gradient = played_gradients(timeline)
    peak = float(stimulation(time, gradient, EXAMPLE_AXES).max())
    factor = CAUTION / 100 / peak
    assert float(nerve_excess(replace(timeline, moment=0.99 * factor * timeline.moment), PRISMA)) == 0
    moment = (1.1 * factor * timeline.moment).requires_grad_()
    excess = nerve_excess(replace(timeline, moment=moment), PRISMA)
    excess.backward()
    assert float(excess.detach()) >= 0.1**2 * 0.999
    assert float((moment.grad * timeline.moment).sum()) > 0
    with pytest.raises(ProtocolError, match="no coefficients"):
        nerve_excess(timeline, Scanner.preset("bruker-biospec-94"))
