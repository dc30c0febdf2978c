"""The twin beside a real scanner, and slice profiles beside what Fourier says."""

from __future__ import annotations

import re
import runpy
import sys

import numpy as np
import torch
from PIL import Image

from pulsetwin.sim.rotations import pulse_maps
from pulsetwin.sim.timeline import PulseShape
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.conftest import ROOT

F64 = torch.float64


def test_measured_slice_profile_equals_the_simulated_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["slice_profile.py", str(tmp_path / "profile.png")])
    runpy.run_path(str(ROOT / "examples" / "slice_profile.py"), run_name="__main__")
    said = capsys.readouterr().out
    measured, simulated = map(float, re.search(r"maximum: ([\d.]+) mm measured, ([\d.]+) mm", said).groups())
    difference = float(re.search(r"difference: ([\d.]+)%", said)[1])
    assert abs(measured - 30) < 1
    assert abs(simulated / measured - 1) < 0.01
    assert difference < 1.5
    with Image.open(tmp_path / "profile.png") as picture:
        assert picture.size[0] > 700


def test_small_flip_angles_give_the_fourier_transform_of_the_pulse(scans):
    shape = timeline_from_seq(scans / "pulseq_se" / "slice_profile_sinc.seq").shapes[0]
    x = torch.linspace(-0.06, 0.06, 301, dtype=F64)
    flip = 1e-3
    matrix, _ = pulse_maps(shape, offset=0 * x, position=torch.stack((x, 0 * x, 0 * x), 1), flip_angle=flip)
    found = torch.complex(matrix[:, 0, 2], matrix[:, 1, 2]).numpy()
    length, gradient, b1 = (t.numpy() for t in (shape.duration, shape.gradient[:, 0], shape.b1))
    passed = np.cumsum(gradient * length)
    left = passed[-1] - passed + gradient * length / 2
    turned = np.exp(-2j * np.pi * np.outer(x.numpy(), left)) * np.sinc(np.outer(x.numpy(), gradient * length))
    expected = -2j * np.pi * flip / shape.flip_angle * turned @ (b1 * length)
    assert np.abs(found - expected).max() < 1e-6 * flip / 1e-3
    assert np.abs(found).max() > 0.9 * flip


def test_a_slice_moves_with_the_carrier():
    """A carrier offset by G d excites at distance d what the pulse on resonance excites in the centre."""
    t = (np.arange(100) + 0.5) / 100 - 0.5
    wave = torch.from_numpy(np.sinc(4 * t).astype(complex) * 300)
    gradient = torch.zeros(100, 3, dtype=F64)
    gradient[:, 2] = 40e3
    shape = PulseShape(torch.full((100,), 3e-5, dtype=F64), wave, gradient, 1.5e-3, 1.3)
    z = torch.linspace(-0.03, 0.03, 61, dtype=F64)
    place = torch.stack((0 * z, 0 * z, z), 1)
    centred, _ = pulse_maps(shape, offset=0 * z, position=place, phase=0.7)
    shift = 0.012
    moved, _ = pulse_maps(
        shape, offset=0 * z, position=place + torch.tensor([0, 0, shift]), phase=0.7, frequency=40e3 * shift
    )
    # The centre of the pulse is where both carriers agree; spins carry the offset's phase from there to the end.
    carried = torch.polar(torch.ones(61, dtype=F64), torch.full((61,), -2 * np.pi * 40e3 * shift * 1.5e-3, dtype=F64))
    expected = torch.complex(centred[:, 0, 2], centred[:, 1, 2]) * carried
    assert torch.complex(moved[:, 0, 2], moved[:, 1, 2]).allclose(expected, atol=1e-6)
    assert moved[:, 2, 2].allclose(centred[:, 2, 2], atol=1e-6)
