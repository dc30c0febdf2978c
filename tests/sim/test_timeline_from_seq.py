"""Timelines against pypulseq's waveforms and k-space, a literal Bloch integration, and analytic truth."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.sequences import made

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*.seq"))
PULSE = "shape_id 1\nnum_samples 2\n1\n1\n"
BLOCK_PULSE = "1 250 1 0 0 500 100 0 0 0 0 e\n"
LONG = "shape_id 1\nnum_samples 1000\n1\n0\n0\n997\n"


def epi() -> pp.Sequence:
    """Echo train on ramp-sampled trapezoids with blips."""
    seq = pp.Sequence(made.SYSTEM)
    excite, select, rewind = pp.make_sinc_pulse(
        np.pi / 2, duration=2e-3, slice_thickness=3e-3, system=made.SYSTEM, return_gz=True, use="excitation",
        delay=100e-6,
    )  # fmt: skip
    read = pp.make_trapezoid("x", area=320, duration=600e-6, system=made.SYSTEM)
    adc = pp.make_adc(100, dwell=5.6e-6, delay=20e-6, system=made.SYSTEM)
    blip = pp.make_trapezoid("y", area=5, duration=100e-6, system=made.SYSTEM)
    back = pp.scale_grad(read, -1.0)
    seq.add_block(excite, select)
    seq.add_block(rewind, pp.make_trapezoid("x", area=-160, system=made.SYSTEM))
    for line in range(6):
        seq.add_block(back if line % 2 else read, adc)
        seq.add_block(blip)
    return seq


def rare() -> pp.Sequence:
    """Return three echoes between bridged crushers."""
    seq = pp.Sequence(made.SYSTEM)
    excite = pp.make_block_pulse(np.pi / 2, duration=0.4e-3, system=made.SYSTEM, use="excitation", delay=100e-6)
    refocus = pp.make_block_pulse(
        np.pi, duration=0.8e-3, system=made.SYSTEM, use="refocusing", delay=100e-6, phase_offset=np.pi / 2
    )
    read = pp.make_trapezoid("x", flat_area=320, flat_time=3.2e-3, system=made.SYSTEM)
    adc = pp.make_adc(64, duration=3.2e-3, delay=read.rise_time, system=made.SYSTEM)
    seq.add_block(excite)
    seq.add_block(pp.make_trapezoid("x", area=read.area / 2, duration=1e-3, system=made.SYSTEM))
    crush = pp.make_trapezoid("z", area=400, duration=1e-3, system=made.SYSTEM)
    for line in range(3):
        phase = [pp.make_trapezoid("y", area=s * (line - 1) * 5, duration=1e-3, system=made.SYSTEM) for s in (1, -1)]
        seq.add_block(crush)
        seq.add_block(refocus)
        seq.add_block(phase[0], crush)
        seq.add_block(read, adc)
        seq.add_block(phase[1])
    return seq


def radial() -> pp.Sequence:
    """Return spokes turned by pypulseq."""
    seq = pp.Sequence(made.SYSTEM)
    excite = pp.make_block_pulse(0.2, duration=0.5e-3, system=made.SYSTEM, use="excitation", delay=100e-6)
    read = pp.make_trapezoid("x", flat_area=320, flat_time=1.28e-3, system=made.SYSTEM)
    pre = pp.make_trapezoid("x", area=-read.area / 2, duration=1e-3, system=made.SYSTEM)
    adc = pp.make_adc(64, duration=1.28e-3, delay=read.rise_time, system=made.SYSTEM)
    for angle in np.arange(4) * 1.9:
        seq.add_block(excite)
        seq.add_block(*pp.rotate(pre, angle=angle, axis="z"))
        seq.add_block(*pp.rotate(read, angle=angle, axis="z"), adc)
    return seq


MADE = {
    "spin_echo": made.spin_echo, "spiral": made.spiral, "gre": lambda: made.gradient_echo(5, 2), "epi": epi,
    "rare": rare, "radial": radial,
}  # fmt: skip


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def pypulseq_reads(path: Path) -> pp.Sequence:
    seq = pp.Sequence()
    quietly(seq.read, str(path), detect_rf_use=read_seq(path).version < (1, 5, 0))
    return seq


def hand_written(tmp_path: Path, version: str, blocks: str, **sections: str) -> Timeline:
    path = tmp_path / "a.seq"
    path.write_text(made.text(version, blocks, **sections))
    return timeline_from_seq(path)


def total(line: Timeline) -> float:
    return math.fsum([line.start_time, *line.duration.tolist()])


def ends(line: Timeline) -> np.ndarray:
    """Time of each interval's end since the start of the sequence."""
    return line.start_time + np.cumsum(line.duration.numpy())


def k_space(line: Timeline, refocuses: np.ndarray) -> np.ndarray:
    """k at the samples: 0 at every pulse but refocusings, which negate it."""
    k, kept = np.zeros(3), np.zeros((len(line.duration), 3))
    starts = line.interval_start.tolist()
    for pulse in range(line.pulses):
        k = -k if refocuses[pulse] else np.zeros(3)
        rows = slice(starts[pulse], starts[pulse + 1])
        kept[rows] = k + np.cumsum(line.moment[rows].numpy(), axis=0)
        k = kept[rows][-1] if starts[pulse + 1] > starts[pulse] else k
    return kept[line.sample_interval.numpy()]


def played(seq: pp.Sequence, time: np.ndarray) -> np.ndarray:
    """Integral of pypulseq's own waveforms to each time by midpoints of 0.1 us, float64 ``[time, 3]``."""
    step = 0.1e-6
    grid = np.arange(round(seq.duration()[0] / step) + 1) * step
    waves = quietly(seq.waveforms_and_times)[0]
    result = np.zeros((len(time), 3))
    for axis, wave in enumerate(waves[:3]):
        if wave is not None and wave.size:
            middle = np.interp(grid[:-1] + step / 2, wave[0].real, wave[1].real, left=0, right=0)
            result[:, axis] = np.interp(time, grid, np.append(0.0, np.cumsum(middle) * step))
    return result


@pytest.mark.parametrize("name", MADE)
def test_moments_are_those_of_the_waveforms(tmp_path, name):
    path = made.write(MADE[name](), tmp_path / "a.seq", "1.5.0")
    source, line = pypulseq_reads(path), timeline_from_seq(path)
    at = np.append(line.start_time, ends(line))
    expected = played(source, at)
    moved = np.concatenate((np.zeros((1, 3)), np.cumsum(line.moment.numpy(), axis=0)))
    scale = np.abs(moved).max()
    np.testing.assert_allclose(moved, expected - expected[0], atol=1e-7 * scale)
    assert total(line) == pytest.approx(source.duration()[0], abs=1e-12)
    assert np.all(line.duration.numpy() > 0)


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
@pytest.mark.parametrize("name", MADE)
def test_k_space_agrees_with_pypulseq_and_the_played_readouts(tmp_path, name, version):
    _agrees(made.write(MADE[name](), tmp_path / "a.seq", version))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_real_files_agree_with_pypulseq_and_the_played_readouts(path):
    _agrees(path)


def _agrees(path: Path) -> None:
    seq = read_seq(path)
    k, _, _, _, times = quietly(pypulseq_reads(path).calculate_kspace)
    k = k.T
    line, readouts = timeline_from_seq(seq), played_readouts(seq)
    use = seq.rf.use[seq.events[seq.events[:, 0] >= 0, 0]]
    noise = np.searchsorted(times, line.start_time) if line.start_time > 0 else 0
    refocuses = np.append([False] * (line.pulses - len(use)), use == "r")
    assert set(use) <= {"e", "r", "s"}
    mine = k_space(line, refocuses)
    np.testing.assert_allclose(ends(line)[line.sample_interval.numpy()], times, atol=1e-9)
    np.testing.assert_allclose(mine, k[noise:], atol=1e-7 * np.abs(k).max())
    starts = line.readout_start.numpy()
    own = np.concatenate([readouts.trajectory(np.array([i])).positions()[0] for i in range(len(readouts))])
    np.testing.assert_allclose(mine, own, atol=1e-9 * np.abs(k).max())
    np.testing.assert_array_equal(np.diff(starts), readouts.num_samples)
    assert total(line) == pytest.approx(seq.duration, abs=1e-12)


def turned(m: np.ndarray, flip: float, phase: float) -> np.ndarray:
    """Apply a pulse to ``[2, spin]``: M+ and Mz."""
    plus, z = m
    c, s, p = np.cos(flip), np.sin(flip), np.exp(1j * phase)
    return np.stack(
        (
            np.cos(flip / 2) ** 2 * plus + np.sin(flip / 2) ** 2 * p**2 * np.conj(plus) - 1j * s * p * z,
            c * z + s * np.imag(np.conj(p) * plus),
        )
    )


def finite(line: Timeline, pulse: int, position: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """M+ and Mz after the shape of one pulse, for spins at `position` ``[spin, 3]`` that begin along z."""
    shape = line.shapes[int(line.shape[pulse])]
    scale = float(line.flip_angle[pulse]) / shape.flip_angle
    m = np.stack((np.zeros(len(position), complex), np.ones(len(position), complex)))
    time = 0.0
    for length, b1, gradient in zip(shape.duration.numpy(), shape.b1.numpy(), shape.gradient.numpy(), strict=True):
        half = np.exp(-1j * np.pi * (position @ gradient + offset) * length)
        m[0] *= half
        away = time + length / 2 - shape.center
        turn = np.angle(b1) + float(line.phase[pulse]) - 2 * np.pi * float(line.frequency[pulse]) * away
        m = turned(m, 2 * np.pi * abs(b1) * scale * length, turn)
        m[0] *= half
        time += length
    return m


def literal(rf, gradient: np.ndarray) -> np.ndarray:
    """M+ and Mz after a pypulseq pulse as Pulseq writes it: fields and spins turn by ``exp(+i 2 pi f t)``.

    `gradient` is the offset of each spin at each sample [Hz], ``[sample, spin]``.
    """
    step = np.diff(rf.t).mean()
    m = np.stack((np.zeros(gradient.shape[1], complex), np.ones(gradient.shape[1], complex)))
    for time, value, offset in zip(rf.t, rf.signal, gradient, strict=True):
        field = value * np.exp(1j * (rf.phase_offset + 2 * np.pi * rf.freq_offset * time))
        half = np.exp(1j * np.pi * offset * step)
        m[0] *= half
        # the same rotation seen in a mirror: conjugate in, conjugate out
        m = turned(np.conj(m), 2 * np.pi * abs(field) * step, -np.angle(field)).conj()
        m[0] *= half
    return m


def slice_selection(**options) -> tuple[pp.Sequence, object, float]:
    seq = pp.Sequence(made.SYSTEM)
    rf, select, _ = pp.make_sinc_pulse(
        np.pi / 3, duration=1e-3, slice_thickness=4e-3, time_bw_product=4, system=made.SYSTEM, return_gz=True,
        use="excitation", delay=100e-6, **options,
    )  # fmt: skip
    seq.add_block(rf, select)
    return seq, rf, select.amplitude


def test_a_slice_lies_at_frequency_over_gradient_and_turns_as_pulseq_writes_it():
    seq, rf, gradient = slice_selection(freq_offset=2500.0, phase_offset=0.7)
    line = timeline_from_seq(seq)
    z = np.linspace(-0.01, 0.01, 81)
    m = finite(line, 0, np.outer(z, [0, 0, 1]))
    expected = literal(rf, np.broadcast_to(gradient * z, (len(rf.t), len(z))))
    np.testing.assert_allclose(m[0], np.conj(expected[0]), atol=1e-5)
    np.testing.assert_allclose(m[1].real, expected[1].real, atol=1e-5)
    weight = np.abs(m[0]) ** 2
    assert np.sum(z * weight) / weight.sum() == pytest.approx(2500 / gradient, abs=2e-5)


@pytest.mark.parametrize(("dwell", "tolerance"), [(1e-6, 1e-5), (4e-6, 2e-3)])
def test_a_pulse_whose_phase_runs_turns_as_pulseq_writes_it(dwell, tolerance):
    # without symmetry in time, off centre, and stored with its own times where the dwell is not the raster
    part = (np.arange(round(1e-3 / dwell)) + 0.5) * dwell / 1e-3
    signal = np.exp(-12 * (part - 0.4) ** 2) * np.exp(1j * (2 + 5 * part + 4 * part**2))
    seq = pp.Sequence(made.SYSTEM)
    rf = pp.make_arbitrary_rf(
        signal, 0.8, dwell=dwell, system=made.SYSTEM, use="excitation", delay=100e-6, freq_offset=-800, phase_offset=1.9
    )
    seq.add_block(rf)
    line = timeline_from_seq(seq)
    offset = np.linspace(-3000, 3000, 41)
    m = finite(line, 0, np.zeros((41, 3)), offset)
    after = float(line.shapes[0].duration.sum()) - rf.t[-1] - dwell / 2
    expected = literal(rf, np.broadcast_to(offset, (len(rf.t), 41)))
    expected[0] *= np.exp(2j * np.pi * offset * after)
    np.testing.assert_allclose(m[0], np.conj(expected[0]), atol=tolerance)
    np.testing.assert_allclose(m[1].real, expected[1].real, atol=tolerance)


@pytest.mark.parametrize("frequency", [0.0, 1700.0])
def test_a_short_pulse_acts_as_if_at_its_centre(frequency):
    seq, _, _ = slice_selection(freq_offset=frequency, phase_offset=1.1)
    line = timeline_from_seq(seq)
    shape = line.shapes[0]
    still = dataclasses.replace(shape, gradient=torch.zeros_like(shape.gradient))
    m = finite(dataclasses.replace(line, shapes=(still,)), 0, np.zeros((1, 3)), frequency)
    after = float(shape.duration.sum()) - shape.center
    instant = turned(np.array([[0j], [1 + 0j]]), float(line.flip_angle[0]), float(line.phase[0]))
    instant[0] *= np.exp(-2j * np.pi * frequency * after)
    np.testing.assert_allclose(m, instant, atol=1e-5)
    assert float(line.flip_angle[0]) == pytest.approx(np.pi / 3, rel=1e-6)
    assert float(line.frequency[0]) == frequency


@pytest.mark.parametrize("pulse_type", ["hypsec", "wurst"])
def test_an_adiabatic_inversion_counts_as_180_degrees_and_inverts(pulse_type):
    seq = pp.Sequence(made.SYSTEM)
    seq.add_block(pp.make_adiabatic_pulse(pulse_type, system=made.SYSTEM, use="inversion", delay=100e-6))
    line = timeline_from_seq(seq)
    assert float(line.flip_angle[0]) == pytest.approx(np.pi)
    shape = line.shapes[0]
    middle = int(torch.searchsorted(shape.duration.cumsum(0), shape.center))
    assert float(shape.b1[middle].angle()) == pytest.approx(0, abs=0.02)
    assert finite(line, 0, np.zeros((1, 3)))[1].real < -0.95


def test_a_chirped_excitation_counts_as_what_it_makes_on_resonance():
    seq = pp.Sequence(made.SYSTEM)
    full = pp.make_adiabatic_pulse("hypsec", system=made.SYSTEM, use="excitation", delay=100e-6)
    full.signal[len(full.signal) // 2 :] = 0
    seq.add_block(full)
    line = timeline_from_seq(seq)
    m = finite(line, 0, np.zeros((1, 3)))
    instant = turned(np.array([[0j], [1 + 0j]]), float(line.flip_angle[0]), float(line.phase[0]))
    np.testing.assert_allclose(m, instant, atol=1e-6)
    assert 1.2 < float(line.flip_angle[0]) < 1.9


def test_a_pulse_that_undoes_itself_is_played_by_its_shape():
    seq = pp.Sequence(made.SYSTEM)
    signal = np.repeat([1.0, -1.0], 500)
    rf = pp.make_arbitrary_rf(
        signal, np.pi / 2, system=made.SYSTEM, use="excitation", delay=100e-6, no_signal_scaling=True
    )
    rf.signal = 250 * signal
    seq.add_block(rf)
    line = timeline_from_seq(seq)
    assert float(line.flip_angle[0]) == pytest.approx(np.pi / 2, rel=1e-5)
    np.testing.assert_allclose(finite(line, 0, np.zeros((1, 3)))[1], 1, atol=1e-9)
    assert abs(finite(line, 0, np.zeros((1, 3)), 500.0)[0][0]) > 0.5


def spoiled(repetitions: int) -> pp.Sequence:
    seq = pp.Sequence(made.SYSTEM)
    rf = pp.make_block_pulse(0.4, duration=0.3e-3, system=made.SYSTEM, use="excitation", delay=100e-6)
    adc = pp.make_adc(4, dwell=10e-6, delay=20e-6, system=made.SYSTEM)
    spoil = pp.make_trapezoid("z", area=1000, duration=2e-3, system=made.SYSTEM)
    for count in range(repetitions):
        rf.phase_offset = adc.phase_offset = np.deg2rad(117 * count * (count + 1) / 2) % (2 * np.pi)
        seq.add_block(rf)
        seq.add_block(adc, pp.make_delay(100e-6))
        seq.add_block(spoil)
    return seq


def test_rf_spoiling_leaves_every_steady_readout_the_same_phase():
    line = timeline_from_seq(spoiled(80))
    z = (np.arange(256) + 0.5) / 256 * 1e-3
    m = np.stack((np.zeros(256, complex), np.ones(256, complex)))
    sampled, signal = set(line.sample_interval.tolist()), []
    for pulse in range(line.pulses):
        m = turned(m, float(line.flip_angle[pulse]), float(line.phase[pulse]))
        for i in range(int(line.interval_start[pulse]), int(line.interval_start[pulse + 1])):
            time = float(line.duration[i])
            decay = np.exp(-time / np.array([4e-3, 8e-3]))
            m[0] *= decay[0] * np.exp(-2j * np.pi * float(line.moment[i, 2]) * z)
            m[1] = 1 + (m[1] - 1) * decay[1]
            if i in sampled:
                signal.append(m[0].mean())
    signal = np.array(signal) * np.exp(1j * line.sample_phase.numpy())
    steady = signal.reshape(80, 4)[60:]
    assert np.abs(steady).min() > 0.05
    np.testing.assert_allclose(steady, np.broadcast_to(steady[-1], steady.shape), atol=1e-6)


def test_quiet_blocks_are_joined_and_corners_kept():
    seq = pp.Sequence(made.SYSTEM)
    seq.add_block(pp.make_delay(7e-3))
    seq.add_block(pp.make_block_pulse(0.2, duration=1e-3, system=made.SYSTEM, use="excitation", delay=100e-6))
    for _ in range(5):
        seq.add_block(pp.make_delay(1e-3))
    seq.add_block(pp.make_trapezoid("y", area=100, duration=1e-3, rise_time=200e-6, system=made.SYSTEM))
    line = timeline_from_seq(seq)
    np.testing.assert_allclose(line.duration, [0.5e-3, 5e-3 + 20e-6, 200e-6, 600e-6, 200e-6], atol=1e-12)
    assert line.in_pulse.tolist() == [True, False, False, False, False]
    assert line.start_time == pytest.approx(7.6e-3, abs=1e-12)


@pytest.mark.parametrize("columns", ["{} 0 0", "0 {} 0", "0 0 {}"])
def test_blocks_that_differ_in_the_ramps_of_one_axis_are_cut_each_in_its_own_way(tmp_path, columns):
    trap = "1 1000 100 500 100 0\n2 1000 200 400 100 0\n"
    blocks = "1 120 1 0 0 0 0 0\n" + "".join(f"{n} 70 0 {columns.format(n - 1)} 0 0\n" for n in (2, 3))
    line = hand_written(tmp_path, "1.5.0", blocks, rf=BLOCK_PULSE, trap=trap, shapes=LONG)
    expected = np.array([500, 100, 100, 500, 100, 200, 400, 100]) * 1e-6
    np.testing.assert_allclose(line.duration, expected, atol=1e-12)


@pytest.mark.parametrize("order", ["1 2", "2 1"])
def test_a_ramp_is_not_joined_with_a_plateau_of_its_mean(tmp_path, order):
    shapes = LONG + "shape_id 2\nnum_samples 2\n0\n1\nshape_id 3\nnum_samples 2\n0\n50\n"
    shapes += "shape_id 4\nnum_samples 2\n1\n1\n"
    gradients = "1 2000 0 2000 2 3 0\n2 1000 1000 1000 4 3 0\n"
    blocks = "1 120 1 0 0 0 0 0\n" + "".join(f"{n} 50 0 {g} 0 0 0 0\n" for n, g in enumerate(order.split(), 2))
    line = hand_written(tmp_path, "1.5.0", blocks, rf=BLOCK_PULSE, gradients=gradients, shapes=shapes)
    np.testing.assert_allclose(line.duration, np.array([500, 100, 500, 500]) * 1e-6, atol=1e-12)
    np.testing.assert_allclose(line.moment[2:, 0], [0.5, 0.5])


def test_long_waveforms_are_cut_into_few_pieces_that_keep_the_diffusion_weighting():
    seq = pp.Sequence(made.SYSTEM)
    seq.add_block(pp.make_block_pulse(0.2, duration=1e-3, system=made.SYSTEM, use="excitation", delay=100e-6))
    lobe = 1e6 * np.sin(2 * np.pi * (np.arange(3000) + 0.5) / 3000) ** 3
    seq.add_block(pp.make_arbitrary_grad("x", lobe, first=0, last=0, system=made.SYSTEM))
    line = timeline_from_seq(seq)
    assert len(line.duration) <= 67
    time = line.duration.numpy()[1:]
    k = np.concatenate(([0], np.cumsum(line.moment.numpy()[1:, 0])))
    mine = np.sum(time * (k[1:] ** 2 + k[1:] * k[:-1] + k[:-1] ** 2) / 3)
    exact = np.cumsum(lobe * 10e-6)
    assert mine == pytest.approx(np.sum(exact**2) * 10e-6, rel=2e-3)


def test_a_pulse_of_15_seconds_is_one_segment(tmp_path):
    long = "shape_id 1\nnum_samples 15000000\n1\n0\n0\n14999997\n"
    line = hand_written(tmp_path, "1.5.0", "1 1500020 1 0 0 0 0 0\n", rf="1 5 1 0 0 7.5e6 0 0 0 0 0 s\n", shapes=long)
    assert len(line.shapes[0].duration) == 1
    assert float(line.shapes[0].duration[0]) == pytest.approx(15, abs=1e-9)
    assert float(line.flip_angle[0]) == pytest.approx(2 * np.pi * 5 * 15)


def test_pulses_of_different_amplitude_share_a_shape(tmp_path):
    rf = "1 250 1 0 0 500 100 0 0 0 0 e\n2 -500 1 0 0 500 100 0 0 0 0.5 e\n3 0 1 0 0 500 100 0 0 0 0 e\n"
    blocks = "".join(f"{n} 200 {n} 0 0 0 0 0\n" for n in (1, 2, 3))
    line = hand_written(tmp_path, "1.5.0", blocks, rf=rf, shapes=LONG)
    assert len(line.shapes) == 1
    np.testing.assert_allclose(line.flip_angle, [np.pi / 2, np.pi, 0], atol=1e-12)
    assert line.shapes[0].flip_angle == pytest.approx(np.pi)
    np.testing.assert_allclose(np.exp(1j * line.phase[:2].numpy()), [1, -np.exp(-0.5j)], atol=1e-12)


def test_phases_of_samples(tmp_path):
    phases = "shape_id 2\nnum_samples 3\n0.1\n0.4\n0.2\n"
    line = hand_written(
        tmp_path, "1.5.0", "1 200 1 0 0 0 0 0\n2 10 0 0 0 0 1 0\n", rf=BLOCK_PULSE,
        adc="1 3 5000 40 2 3 1000 0.3 2\n", definitions="B0 2\n", shapes=LONG + phases,
    )  # fmt: skip
    time = (np.arange(3) + 0.5) * 5e-6
    full = 1e-6 * 42.576e6 * 2
    expected = 0.3 + 3 * full + 2 * np.pi * (1000 + 2 * full) * time + [0.1, 0.4, 0.2]
    np.testing.assert_allclose(line.sample_phase, expected, atol=1e-9)
    np.testing.assert_allclose(ends(line)[line.sample_interval.numpy()], 2e-3 + 40e-6 + time, atol=1e-12)


def test_a_receiver_at_the_frequency_of_a_place_hears_it_at_rest():
    seq = pp.Sequence(made.SYSTEM)
    seq.add_block(pp.make_block_pulse(0.3, duration=0.4e-3, system=made.SYSTEM, use="excitation", delay=100e-6))
    read = pp.make_trapezoid("x", flat_area=320, flat_time=3.2e-3, system=made.SYSTEM)
    place = 0.043
    adc = pp.make_adc(64, duration=3.2e-3, delay=read.rise_time, system=made.SYSTEM, freq_offset=place * read.amplitude)
    seq.add_block(read, adc)
    line = timeline_from_seq(seq)
    k = line.moment.numpy()[:, 0].cumsum()[line.sample_interval.numpy()]
    heard = np.exp(-2j * np.pi * k * place + 1j * line.sample_phase.numpy())
    np.testing.assert_allclose(heard / heard[0], 1, atol=1e-4)


def test_offsets_in_ppm_need_a_field(tmp_path):
    rf, blocks = "1 250 1 0 0 500 100 -3.4 0 0 0 s\n", "1 200 1 0 0 0 0 0\n"
    with pytest.raises(ProtocolError, match="field_strength"):
        hand_written(tmp_path, "1.5.0", blocks, rf=rf, shapes=LONG)
    line = timeline_from_seq(tmp_path / "a.seq", field_strength=3.0)
    assert float(line.frequency[0]) == pytest.approx(-3.4e-6 * 42.576e6 * 3)
    line = hand_written(tmp_path, "1.5.0", blocks, rf=rf, shapes=LONG, definitions="B0 1.5\n")
    assert float(line.frequency[0]) == pytest.approx(-3.4e-6 * 42.576e6 * 1.5)
    assert float(line.phase[0]) == pytest.approx(2 * np.pi * 3.4e-6 * 42.576e6 * 1.5 * 500e-6)


def test_sequences_that_cannot_be_played_are_refused(tmp_path):
    with pytest.raises(ProtocolError, match="no RF pulse"):
        hand_written(tmp_path, "1.5.0", "1 10 0 0 0 0 0 0\n")
    with pytest.raises(ProtocolError, match="block 1 ends"):
        hand_written(tmp_path, "1.5.0", "1 50 1 0 0 0 0 0\n", rf=BLOCK_PULSE, shapes=LONG)
    with pytest.raises(ProtocolError, match="dwell"):
        hand_written(tmp_path, "1.5.0", "1 200 1 0 0 0 1 0\n", rf=BLOCK_PULSE, shapes=LONG, adc="1 3 0 40 0 0 0 0 0\n")


def test_samples_before_the_first_pulse_follow_a_pulse_of_no_flip_angle(tmp_path):
    blocks = "1 10 0 0 0 0 1 0\n2 200 1 0 0 0 0 0\n3 10 0 0 0 0 1 0\n"
    line = hand_written(tmp_path, "1.5.0", blocks, rf=BLOCK_PULSE, shapes=LONG, adc="1 3 5000 40 0 0 0 0 0\n")
    assert line.flip_angle[0] == 0
    assert line.shape.tolist() == [-1, 0]
    assert line.start_time == 0
    assert line.samples == 6
    assert line.readout_start.tolist() == [0, 3, 6]
    assert line.interval_start[0] == 0


def test_a_pulse_during_acquisition_parts_the_readout(tmp_path):
    line = hand_written(
        tmp_path, "1.5.0", "1 200 1 0 0 0 1 0\n2 200 1 0 0 0 1 0\n", rf=BLOCK_PULSE, shapes=LONG,
        adc="1 10 100000 50 0 0 0 0 0\n",
    )  # fmt: skip
    # the centre lies 600 us into the block, samples at 100, 200, ...; those before the first pulse see no flip angle
    assert line.pulses == 3
    assert np.diff(line.readout_start).tolist() == [6, 4, 6, 4]
    assert line.readout_shape.tolist() == [0, 1, 0, 1]


def test_a_pulse_may_act_at_the_start_of_its_block(tmp_path):
    rf = "1 250 1 0 0 0 0 0 0 0 0 e\n"
    line = hand_written(tmp_path, "1.5.0", "1 200 1 0 0 0 0 0\n2 200 1 0 0 0 0 0\n", rf=rf, shapes=LONG)
    assert line.start_time == 0
    # an interval of no length leads up to the second centre
    assert line.in_pulse.tolist() == [True, False, True, True, False]
    np.testing.assert_allclose(line.duration, [1e-3, 1e-3, 0, 1e-3, 1e-3], atol=1e-12)
    assert line.interval_start.tolist() == [0, 3, 5]


def test_rotated_blocks_equal_blocks_with_rotated_gradients(tmp_path):
    angle = 0.7
    quaternion = f"{math.cos(angle / 2)} 0 0 {math.sin(angle / 2)}"
    extensions = f"1 1 1 0\n\nextension ROTATIONS 1\n1 {quaternion}\n"
    adc, trap = "1 8 100000 200 0 0 0 0 0\n", "1 1000 100 900 100 0\n2 500 100 900 100 0\n"
    common = {"rf": BLOCK_PULSE, "adc": adc, "shapes": LONG}
    blocks = "1 200 1 1 0 2 0 1\n2 110 0 1 0 2 1 1\n"
    one = hand_written(tmp_path, "1.5.0", blocks, trap=trap, extensions=extensions, **common)
    trap += f"3 {1000 * math.cos(angle)} 100 900 100 0\n4 {1000 * math.sin(angle)} 100 900 100 0\n"
    other = hand_written(tmp_path, "1.5.0", "1 200 1 3 4 2 0 0\n2 110 0 3 4 2 1 0\n", trap=trap, **common)
    torch.testing.assert_close(one.duration, other.duration)
    torch.testing.assert_close(one.moment, other.moment)
    torch.testing.assert_close(one.shapes[0].gradient, other.shapes[0].gradient)
    torch.testing.assert_close(one.shapes[0].b1, other.shapes[0].b1)
    shape = one.shapes[0]
    inside = one.moment[one.in_pulse].sum(0)
    after = float(shape.duration.sum()) - shape.center
    assert float(one.duration[one.in_pulse].sum()) == pytest.approx(after, abs=1e-12)
    edges = np.append(0, np.cumsum(shape.duration.numpy()))
    played_by_shape = np.append(np.zeros((1, 3)), np.cumsum((shape.gradient * shape.duration[:, None]).numpy(), 0), 0)
    before = [np.interp(shape.center, edges, played_by_shape[:, axis]) for axis in range(3)]
    np.testing.assert_allclose(played_by_shape[-1] - before, inside, atol=1e-9)


def test_old_versions_go_through(tmp_path):
    shapes = "shape_id 1\nnum_samples 1000\n1\n0\n0\n997\n"
    for version in ("1.2.1", "1.3.1"):
        blocks = "1 0 1 0 0 0 0\n2 0 0 1 0 0 1\n" if version < "1.3" else "1 0 1 0 0 0 0 0\n2 0 0 1 0 0 1 0\n"
        line = hand_written(
            tmp_path, version, blocks, rf="1 250 1 0 100 0 0\n", trap="1 1000 100 800 100 0\n",
            adc="1 8 100000 100 0 0\n", shapes=shapes,
        )  # fmt: skip
        assert float(line.flip_angle[0]) == pytest.approx(np.pi / 2)
        assert line.samples == 8
        assert total(line) == pytest.approx(2.1e-3, abs=1e-12)
        assert float(line.moment.sum()) == pytest.approx(0.9)


def test_shims_are_conjugated(tmp_path):
    extensions = "1 1 1 0\n\nextension RF_SHIMS 1\n1 2 1 0 0.5 1.5707963267948966\n"
    blocks = "1 200 1 0 0 0 0 0\n2 200 1 0 0 0 0 1\n"
    line = hand_written(tmp_path, "1.5.1", blocks, rf=BLOCK_PULSE, shapes=LONG, extensions=extensions)
    np.testing.assert_allclose(line.shim, [[1, 1], [1, -0.5j]], atol=1e-12)


def test_equal_readouts_share_a_number():
    line = timeline_from_seq(made.gradient_echo(6, 2))
    assert line.readout_shape.unique().tolist() == [0]
    line = quietly(timeline_from_seq, made.spin_echo())
    assert line.readout_shape.tolist() == [0] + [1] * 6


def test_moments_may_carry_gradients():
    line = timeline_from_seq(made.gradient_echo(3))
    moment = line.moment.clone().requires_grad_()
    moved = dataclasses.replace(line, moment=moment)
    position = moved.moment.cumsum(0)[moved.sample_interval]
    position.square().sum().backward()
    # moment j counts in every later sample, twice its k
    later = moved.sample_interval[None] >= torch.arange(len(moment))[:, None]
    torch.testing.assert_close(moment.grad, 2 * later.to(moment.dtype) @ position.detach())
