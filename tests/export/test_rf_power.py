"""RF power: equal to direct integration sample by sample, and to pulses worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsetwin.export.playable import check
from pulsetwin.export.rf_power import pulse_energy, rf_peaks, rf_power
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences import shapes
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF, read_seq
from tests.sequences import made

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*.seq"))
PRISMA = Scanner.preset("siemens-prisma")
BLOCK = "shape_id 1\nnum_samples 1000\n1\n0\n0\n997\n"
REFERENCE = "1 500 1 0 0 500 0 0 0 0 0 r\n"


def expanded(seq, row):
    """Return the squared envelope of a pulse [Hz^2] on every RF raster interval, all samples expanded."""
    return (seq.rf.amplitude[row] * seq.shapes[seq.rf.magnitude[row]].samples()) ** 2


def on_a_grid(seq, step):
    """Return the power [Hz^2] in intervals of `step` [s], from all samples of all pulses."""
    grid = np.zeros(round(seq.duration / step) + 1)
    raster = seq.rasters["RadiofrequencyRasterTime"]
    for block in np.nonzero(seq.events[:, RF] != NONE)[0]:
        row = seq.events[block, RF]
        power = expanded(seq, row)
        time = seq.block_start[block] + seq.rf.delay[row] + (np.arange(len(power)) + 0.5) * raster
        np.add.at(grid, (time / step).astype(int), power * raster / step)
    return grid


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_energy_of_real_pulses_is_that_of_their_samples(path):
    seq = read_seq(path)
    raster = seq.rasters["RadiofrequencyRasterTime"]
    total = 0.0
    for row in range(len(seq.rf)):
        assert seq.rf.time_shape[row] == NONE
        sums = np.concatenate(([0.0], np.cumsum(expanded(seq, row)))) * raster
        time, energy = pulse_energy(seq, row)
        np.testing.assert_allclose(energy, sums[np.round(time / raster).astype(int)], rtol=1e-10)
        total += sums[-1] * np.sum(seq.events[:, RF] == row)
    assert rf_power(seq, PROTON).energy == pytest.approx(total / PROTON**2, rel=1e-10)


@pytest.mark.parametrize("make", [made.spin_echo, made.spiral])
def test_energy_is_that_of_pypulseqs_waveform(tmp_path, make):
    """Block pulses of two samples with times of their own, sinc and Gauss pulses."""
    sequence = make()
    wave = sequence.waveforms_and_times(append_RF=True)[0][3]
    time, power = wave[0].real, np.abs(wave[1]) ** 2
    seq = read_seq(made.write(sequence, tmp_path / "a.seq", "1.5.0"))
    assert rf_power(seq, PROTON).energy * PROTON**2 == pytest.approx(np.trapezoid(power, time), rel=2e-3)


def test_ramps_are_summed_in_closed_form(tmp_path):
    """A triangle of 2000 samples in two runs."""
    path = tmp_path / "a.seq"
    triangle = "shape_id 1\nnum_samples 2000\n0.001\n0.001\n998\n-0.001\n-0.001\n998\n"
    path.write_text(made.text("1.5.1", "1 300 1 0 0 0 0 0\n", rf="1 100 1 0 0 1000 100 0 0 0 0 e\n", shapes=triangle))
    seq = read_seq(path)
    assert len(seq.shapes[0].index) < 5
    time, energy = pulse_energy(seq, 0)
    sums = np.concatenate(([0.0], np.cumsum(expanded(seq, 0)))) * 1e-6
    np.testing.assert_allclose(energy, sums[np.round(time / 1e-6).astype(int)], rtol=1e-10)


def train(tmp_path, count, amplitude=500.0):
    """Return `count` block pulses of 1 ms, one a second."""
    path = tmp_path / "a.seq"
    blocks = "".join(f"{n + 1} 100000 1 0 0 0 0 0\n" for n in range(count))
    path.write_text(made.text("1.5.1", blocks, rf=REFERENCE.replace("500", f"{amplitude:g}", 1), shapes=BLOCK))
    return read_seq(path)


@pytest.mark.parametrize("count", [1, 12, 400])
def test_the_reference_pulse_every_second_is_one(tmp_path, count):
    power = rf_power(train(tmp_path, count), PROTON)
    assert power.relative_sar == pytest.approx((1.0, 1.0))
    assert power.average == pytest.approx((0.5 / PROTON / 1e-3) ** 2 * 1e-3)
    assert power.energy == pytest.approx(count * power.average)
    assert power.peak == pytest.approx(500 / PROTON)
    assert (power.duty_cycle, power.windowed_duty_cycle) == (pytest.approx(1e-3), pytest.approx(1e-3))
    assert power.longest_pulse == pytest.approx(1e-3)


def test_reference_pulse_is_180_degrees(tmp_path):
    assert train(tmp_path, 1).rf.flip[0] == pytest.approx(np.pi)


def test_doubling_b1_quadruples_the_power(tmp_path):
    assert rf_power(train(tmp_path, 3, 1000), PROTON).relative_sar[0] == pytest.approx(4.0)


def busy(tmp_path):
    """Return some 25 s of triangular pulses of up to 0.4 s at uneven times with uneven amplitudes."""
    random = np.random.default_rng(3)
    half = random.integers(250, 200_000, 60)
    wait = np.round(random.uniform(1e2, 6e4, 60)).astype(int)
    shape = [f"shape_id {n}\nnum_samples {2 * h}\n{1 / h}\n{1 / h}\n{h - 2}\n{-1 / h}\n{-1 / h}\n{h - 2}\n"
             for n, h in enumerate(half, 1)]  # fmt: skip
    rf = [f"{n} {random.uniform(10, 500):.6g} {n} 0 0 {h} 100 0 0 0 0 e\n" for n, h in enumerate(half, 1)]
    blocks = [
        f"{n} {(2 * h + 200) // 10 + w} {n} 0 0 0 0 0\n" for n, (h, w) in enumerate(zip(half, wait, strict=True), 1)
    ]
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.1", "".join(blocks), rf="".join(rf), shapes="\n".join(shape)))
    return read_seq(path)


def test_sliding_window_against_every_millisecond(tmp_path):
    seq = busy(tmp_path)
    assert seq.duration > 20
    power = on_a_grid(seq, 1e-3)
    sums = np.concatenate(([0.0], np.cumsum(power))) * 1e-3
    brute = (sums[10000:] - sums[:-10000]).max() / 10
    found = rf_power(seq, PROTON)
    assert found.windowed[0] * PROTON**2 == pytest.approx(brute, rel=2e-3)
    start = round(found.window_start[0] / 1e-3)
    assert sums[start + 10000] - sums[start] == pytest.approx(10 * brute, rel=2e-3)
    assert found.windowed[1] == found.average


def test_a_window_catches_a_burst(tmp_path):
    """Saturation of 5 s with 1 uT in a scan of 20 s: the mean square of the worst 10 s is half of it."""
    path = tmp_path / "a.seq"
    pulse = "shape_id 1\nnum_samples 2\n1\n1\n\nshape_id 2\nnum_samples 2\n0\n5000000\n"
    blocks = "1 700000 0 0 0 0 0 0\n2 500000 1 0 0 0 0 0\n3 800000 0 0 0 0 0 0\n"
    rf = f"1 {1e-6 * PROTON:.9g} 1 0 2 2500000 0 0 0 0 0 s\n"
    path.write_text(made.text("1.5.1", blocks, rf=rf, shapes=pulse))
    found = rf_power(read_seq(path), PROTON)
    assert found.windowed == pytest.approx((0.5e-12, 0.25e-12))
    assert found.windowed_duty_cycle == pytest.approx(0.5)
    assert 2.0 - 1e-9 <= found.window_start[0] <= 7.0 + 1e-9


def test_long_constant_pulses_are_not_expanded(tmp_path, monkeypatch):
    path = tmp_path / "a.seq"
    pulse = "shape_id 1\nnum_samples 15000000\n1\n0\n0\n14999997\n"
    rf = "1 85 1 0 0 7500000 0 0 0 0 0 s\n"
    path.write_text(made.text("1.5.1", "1 1500000 1 0 0 0 0 0\n", rf=rf, shapes=pulse))
    seq = read_seq(path)
    monkeypatch.setattr(shapes.Shape, "samples", lambda self: pytest.fail("expanded"))
    assert len(pulse_energy(seq, 0)[0]) < 50
    assert rf_power(seq, PROTON).energy * PROTON**2 == pytest.approx(85**2 * 15)


def test_no_pulse_no_power(tmp_path):
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.1", "1 100 0 0 0 0 0 0\n"))
    assert set(rf_peaks(read_seq(path), PRISMA).values()) == {0.0}


def test_a_block_without_duration_is_told_and_divides_by_nothing(tmp_path):
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.1", "1 0 1 0 0 0 0 0\n", rf=REFERENCE, shapes=BLOCK))
    report = check(path, PRISMA)
    assert "rf-ringdown" in {finding.rule for finding in report.errors}
    assert report.peaks["RF duty cycle [%]"] == pytest.approx(100.0)


def test_check_reports_it(tmp_path):
    report = check(train(tmp_path, 12), PRISMA)
    assert report.peaks["relative SAR 10 s"] == pytest.approx(1.0)
    assert report.peaks["B1 rms 10 s [uT]"] == pytest.approx(1e6 * 500 / PROTON * np.sqrt(1e-3))
