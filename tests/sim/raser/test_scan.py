"""RASER scans of the twin: where the object is, by the trajectory of the raw data, and the road through TWIX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin import cli
from pulsetwin.errors import ProtocolError
from pulsetwin.recon.read import read
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.raser import Protocol, build
from pulsetwin.sim.phantoms import shepp_logan, tube
from pulsetwin.sim.raser.scan import Sample, acquire_raser

FOV = (7.4e-3, 7.4e-3, 1e-2)
SHORT = {"matrix": (16, 16, 1), "pumping": 0.1, "samples": 2048, "dwell": 2e-3}
FAINT = Sample(total=1e-3, t2=3.0)  # far below the threshold, where modes do not act on each other


def sequence(scanner="magritek-spinsolve-60", **given):
    return build(Protocol(**{**SHORT, "angles": 6, **given}), Scanner.preset(scanner))


def without_gap():
    stripped = sequence()
    del stripped.definitions["RaserGap"]
    return stripped


def test_a_voxel_turns_as_the_trajectory_says():
    """The phase of what it emits falls by ``2 pi k r``: direction, sign and size, for an even and an odd grid."""
    for edge, at in ((9, (6, 1)), (8, (1, 6))):
        phantom = tube((1, edge, edge), FOV)
        density = torch.zeros_like(phantom.proton_density)
        density[0, at[0], at[1]] = 1
        raw = acquire_raser(sequence(), replace(phantom, proton_density=density), FAINT, seed=2)
        (group,) = raw.groups
        k, signal = group.trajectory.positions(), np.asarray(group.samples)[:, 0]
        size = FOV[0] / edge
        place = np.array([(at[1] - edge // 2) * size, -(at[0] - edge // 2) * size, 0])  # y of the gradients points back
        expected = -np.diff(k @ place)[:, 100] / 2e-3
        turned = np.angle((signal[:, 1:] * signal[:, :-1].conj()).sum(1)) / (2 * np.pi * 2e-3)
        voxel = 42.577e6 * 26e-6 * size
        assert abs(expected).max() > 2 * voxel
        assert abs(turned - expected).max() < 0.6 * voxel


def test_the_centre_of_a_tube():
    """The middle of the spectrum follows the angle as the tube's place does."""
    middles = []
    for seed in range(8):
        raw = acquire_raser(sequence(), tube((1, 32, 32), FOV), FAINT, seed=seed)
        power = abs(np.fft.fft(np.asarray(raw.groups[0].samples)[:, 0])) ** 2
        middles.append((power * np.fft.fftfreq(2048, 2e-3)).sum(1) / power.sum(1))
    metres = -np.mean(middles, 0) / (42.577e6 * 26e-6)
    angle = np.arange(6) * np.pi / 6
    x, y = np.linalg.lstsq(np.stack([np.cos(angle), -np.sin(angle)], 1), metres, rcond=None)[0]
    assert x == pytest.approx(0.05 * FOV[0], abs=0.02 * FOV[0])
    assert y == pytest.approx(0.03 * FOV[0], abs=0.02 * FOV[0])


def test_segments_are_of_one_emission():
    """What a scanner of several acquisitions measures is what one of one long acquisition does, but for the gaps."""
    given = {"angles": 2, "samples": 32768, "dwell": 500e-6}
    phantom = shepp_logan((1, 16, 16), FOV)
    whole = acquire_raser(sequence(**given), phantom, seed=1).groups[0]
    raw = acquire_raser(sequence("siemens-prisma", **given), phantom, seed=1)
    parts, count, gap = raw.groups[0], *(int(raw.definitions[f"Raser{name}"]) for name in ("SegmentSamples", "Gap"))
    assert len(parts) == 8
    for readout in range(8):
        line, first = divmod(readout, 4)
        first *= count + gap
        expected = np.asarray(whole.samples)[line, 0, first : first + count]
        found = np.asarray(parts.samples)[readout, 0, : len(expected)]
        assert abs(found - expected).max() < 1e-5 * abs(np.asarray(whole.samples)).max()


def test_noise_and_seeds():
    quiet, loud, other = (
        acquire_raser(sequence(), tube((1, 16, 16), FOV), snr=snr, seed=seed)
        for snr, seed in ((None, 1), (20, 1), (None, 2))
    )
    signal = np.asarray(quiet.groups[0].samples)
    noise = np.asarray(loud.groups[0].samples) - signal
    assert abs(signal).max(2).mean() / noise.real.std() == pytest.approx(20, rel=0.03)
    assert loud.noise.real.std() == pytest.approx(noise.real.std(), rel=0.03)
    assert quiet.noise is None
    assert not np.allclose(signal, np.asarray(other.groups[0].samples))
    spread = np.array(quiet.header["times_threshold"])
    assert (abs(spread / 10 - 1) <= 0.05).all()
    assert spread.std() > 0


def test_what_is_not_possible_is_told():
    phantom = tube((1, 16, 16), FOV)
    with pytest.raises(ProtocolError, match="pulses"):
        acquire_raser(sequence(reference=True), phantom)
    with pytest.raises(ProtocolError, match="does not state RaserGap"):
        acquire_raser(without_gap(), phantom)
    with pytest.raises(ProtocolError, match="square"):
        acquire_raser(sequence(), tube((1, 8, 16), FOV))
    with pytest.raises(ProtocolError, match="snr"):
        acquire_raser(sequence(), phantom, snr=0.0)
    with pytest.raises(ProtocolError, match="above 0"):
        acquire_raser(sequence(), phantom, Sample(total=0.0))


def test_simulate_writes_twix_that_is_read_again(tmp_path, capsys):
    path, out = str(tmp_path / "raser.seq"), str(tmp_path / "scan.dat")
    sequence("siemens-prisma", samples=1024).write(path)
    assert cli.main(["simulate", path, "--phantom", "tube", "--matrix", "16", "-o", out]) == 0
    assert "engine   raser" in capsys.readouterr().out
    raw = read(out, path)
    expected = acquire_raser(path, tube((1, 16, 16), FOV))
    assert np.allclose(np.asarray(raw.groups[0].samples[:]), np.asarray(expected.groups[0].samples), rtol=1e-6)
    assert list(raw.groups[0].label("LIN")) == list(range(6))
    assert cli.main(["simulate", path, "--coils", "4", "-o", str(tmp_path / "other.dat")]) == 2
    assert "--coils" in capsys.readouterr().err
