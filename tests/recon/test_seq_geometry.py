from __future__ import annotations

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.export.twix import write
from pulsetwin.rawdata import Geometry, RawData, Readouts
from pulsetwin.recon.read import read
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from tests.twix_scans import RAS_OF_PULSEQ, noise_like

OFFSETS = (0.01, -0.01, 0.0)
FOV, LINES, SAMPLES = 0.2, 4, 16


def multislice(path, *, labels: bool, noise: bool) -> str:
    """Write a small 2D gradient echo of three slices, played out of order, with two times oversampling."""
    system = pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s", B0=3.0)
    seq = pp.Sequence(system)
    rf, gz, gzr = pp.make_sinc_pulse(
        flip_angle=0.3, duration=2e-3, slice_thickness=5e-3, system=system, return_gz=True, use="excitation"
    )
    gx = pp.make_trapezoid("x", flat_area=SAMPLES / 2 / FOV, flat_time=1.6e-3, system=system)
    adc = pp.make_adc(SAMPLES, duration=1.6e-3, delay=gx.rise_time, system=system)
    back = pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3, system=system)
    if noise:
        seq.add_block(pp.make_adc(32, duration=1.6e-3, system=system), pp.make_label("NOISE", "SET", 1))
        seq.add_block(pp.make_delay(1e-3), pp.make_label("NOISE", "SET", 0))
    for line in range(LINES):
        for k, z in enumerate(OFFSETS):
            rf.freq_offset = gz.amplitude * z
            phase = pp.make_trapezoid("y", area=(line - LINES // 2) / FOV, duration=1e-3, system=system)
            marks = [pp.make_label("SLC", "SET", k), pp.make_label("LIN", "SET", line)] if labels else []
            seq.add_block(rf, gz)
            seq.add_block(back, phase, gzr, *marks)
            seq.add_block(gx, adc)
            seq.add_block(pp.make_delay(5e-3))
    seq.set_definition("FOV", [FOV, FOV, 5e-3])
    seq.write(str(path))
    return read_seq(path).signature


def play(seq_path, dat_path, signature: str, centre, rng) -> tuple[RawData, np.ndarray]:
    """Write random data as the scanner would for this sequence."""
    played = played_readouts(read_seq(seq_path))
    noise = played.flags.get("noise", np.zeros(len(played), bool))
    event = np.nonzero(~noise)[0]
    group = Readouts(
        noise_like(rng, len(event), 2, SAMPLES),
        played.trajectory(event),
        played.start_time[event],
        played.dwell[event],
        {name: values[event] for name, values in played.labels.items() if name in ("SLC", "LIN")},
    )
    geometry = Geometry((FOV, FOV, 5e-3), (8, 4, 1), RAS_OF_PULSEQ, np.array([centre]))
    values = noise_like(rng, 2, 32) if noise.any() else None
    raw = RawData((group,), values, 5e-5, geometry)
    write(raw, dat_path, seq_signature=signature)
    return raw, group.samples


@pytest.mark.parametrize("noise", [False, True])
def test_slices_lie_where_the_pulses_put_them(tmp_path, noise):
    signature = multislice(tmp_path / "a.seq", labels=True, noise=noise)
    centre = np.array([0.01, -0.02, 0.03])
    written, samples = play(tmp_path / "a.seq", tmp_path / "a.dat", signature, centre, np.random.default_rng(0))
    raw = read(tmp_path / "a.dat", tmp_path / "a.seq")
    assert np.array_equal(raw.groups[0].samples[:], samples)
    assert np.array_equal(raw.groups[0].label("SLC"), np.tile([0, 1, 2], LINES))
    assert np.allclose(raw.geometry.centers, centre + np.outer(OFFSETS, [0, 0, 1]), atol=1e-5)
    assert raw.geometry.matrix == (8, 4, 1)
    assert raw.geometry.fov == pytest.approx((FOV, FOV, 5e-3))
    assert (raw.noise is None) != noise
    if noise:
        assert np.array_equal(raw.noise, written.noise)
    assert raw.warnings == ()


def test_slices_without_labels_are_numbered_by_position(tmp_path):
    signature = multislice(tmp_path / "a.seq", labels=False, noise=False)
    play(tmp_path / "a.seq", tmp_path / "a.dat", signature, np.zeros(3), np.random.default_rng(0))
    raw = read(tmp_path / "a.dat", tmp_path / "a.seq")
    assert np.array_equal(raw.groups[0].label("SLC"), np.tile([2, 0, 1], LINES))
    assert np.allclose(raw.geometry.centers[:, 2], [-0.01, 0, 0.01], atol=1e-5)
    assert any("no slice labels" in warning for warning in raw.warnings)
