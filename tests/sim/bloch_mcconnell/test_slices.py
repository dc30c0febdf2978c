"""Pulses that select a slice act as in its middle, wherever it is."""

from __future__ import annotations

import math

import numpy as np
import pypulseq as pp
import pytest
from scipy.spatial.transform import Rotation

from pulsetwin.sequences.gradients import amplitude_at
from pulsetwin.sequences.seqfile import GZ
from pulsetwin.sim.bloch_mcconnell.play import excited, simulate
from pulsetwin.sim.pulse_waves import segments
from tests.sim.bloch_mcconnell.test_play import SAMPLES, SCANNER, model_of, played


def one_spin(seq, place):
    """Return transverse magnetisation of a spin at a place along z [m] after the pulse of block 0 and the gradients of
    blocks 0 and 1, by rotations on the raster of 1 us."""
    step = 1e-6
    time = (np.arange(round(seq.block_duration[:2].sum() / step)) + 0.5) * step
    first = seq.block_duration[0]
    gradient = np.where(
        time < first,
        amplitude_at(seq.gradients, seq.events[:1, GZ], time[None])[0],
        amplitude_at(seq.gradients, seq.events[1:2, GZ], time[None] - first)[0],
    )
    edges, values = segments(seq, 0)
    at = np.searchsorted(seq.rf.delay[0] + edges, time) - 1
    inside = (at >= 0) & (at < len(values))
    wave = np.where(inside, seq.rf.amplitude[0] * np.conj(values[np.clip(at, 0, len(values) - 1)]), 0)
    wave = wave * np.exp(1j * (seq.rf.phase[0] + 2 * math.pi * seq.rf.freq[0] * (time - seq.rf.delay[0])))
    m = np.array([0.0, 0.0, 1.0])
    for b1, detuning in zip(wave, gradient * place, strict=True):
        m = Rotation.from_rotvec(2 * math.pi * step * np.array([-b1.real, -b1.imag, detuning])).apply(m)
    return m[0] + 1j * m[1]


@pytest.mark.parametrize("place", [0.0, -0.013, 0.02])
def test_a_pulse_acts_as_in_the_middle_of_its_slice(tmp_path, place):
    """Against one spin there, with the gradients of the pulse and after it."""
    rf, gz, back = pp.make_sinc_pulse(
        1.0, duration=2e-3, slice_thickness=5e-3, time_bw_product=4, delay=SCANNER.rf_dead_time, return_gz=True,
        phase_offset=0.4, use="excitation", system=SCANNER.opts,
    )  # fmt: skip
    rf.freq_offset = gz.amplitude * place
    seq = played(tmp_path, (rf, gz), (back,), SAMPLES)
    still = model_of(t1=1e6, t2=1e6)
    expected = one_spin(seq, place)
    assert abs(expected) > 0.8
    for found in (simulate(seq, still, observe="transverse"), excited(seq, still)[0]):
        assert found.item() == pytest.approx(expected, abs=2e-4)
