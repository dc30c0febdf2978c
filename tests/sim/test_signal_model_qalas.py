"""QALAS signals against repetitions played one by one, published figures, and Bloch simulation of real pulses."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

TISSUES = torch.tensor([[0.85, 0.07], [1.35, 0.085], [4.0, 1.8], [0.35, 0.07]], dtype=torch.float64)
SIEMENS = QalasTiming.preset("siemens", train_length=127)


def played(timing: QalasTiming, t1: float, t2: float, ie: float, b1: float, repetitions: int) -> list[float]:
    """The five signals of the last repetition, excitation by excitation."""
    m, found = 1.0, []

    def wait(m: float, time: float) -> float:
        return 1 - (1 - m) * math.exp(-time / t1)

    now = 0.0
    for repetition in range(repetitions):
        begin, found = repetition * timing.repetition_time, []
        m = wait(m, begin + timing.t2prep_start - now)
        te, stored = timing.t2prep_te, math.cos(math.pi / 2 * b1) ** 2
        m *= (1 - stored) * math.exp(-te / t2) + stored * math.exp(-te / t1)
        now = begin + timing.t2prep_start + te
        for train in range(5):
            if train == 1:
                m = -ie * wait(m, begin + timing.inversion_start - now)
                now = begin + timing.inversion_start + timing.inversion_duration
            m = wait(m, begin + timing.train_starts[train] - now)
            angle = timing.flip_angles[train] * b1
            found.append(m * math.sin(angle))
            for _ in range(timing.train_length):
                m = wait(m * math.cos(angle), timing.echo_spacing)
            now = begin + timing.train_starts[train] + timing.train_duration
    return found


@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge"])
@pytest.mark.parametrize("b1", [0.7, 1.0, 1.3])
def test_closed_form_is_the_steady_state_of_repetitions(vendor, b1):
    timing = QalasTiming.preset(vendor, echo_spacing=5.7e-3)
    for t1, t2 in TISSUES[:2].tolist():
        found = signals(timing, *torch.tensor([t1, t2], dtype=torch.float64), ie=0.9, b1=b1)
        assert np.abs(found.numpy() - played(timing, t1, t2, 0.9, b1, 20)).max() < 1e-12


def test_unequal_gaps_and_flip_angles():
    timing = dataclasses.replace(
        SIEMENS, train_starts=(0.12, 1.02, 1.95, 2.75, 3.9), flip_angles=(0.05, 0.06, 0.07, 0.08, 0.09),
        repetition_time=5.4,
    )  # fmt: skip
    found = signals(timing, *TISSUES[1], ie=0.8, b1=1.1)
    assert np.abs(found.numpy() - played(timing, *TISSUES[1].tolist(), 0.8, 1.1, 20)).max() < 1e-12


def test_published_signals():
    """Jun et al.: WM, GM and CSF at an inversion efficiency of 0.95, to the last printed digit."""
    expected = [[13.5, -28.2, 34.4, 50.3, 54.4], [14.5, -24.9, 21.3, 38.7, 45.2], [21.9, -20.8, 0.35, 12.7, 20.0]]
    found = 1e3 * signals(SIEMENS, *TISSUES[:3].T, ie=0.95)
    assert (found - torch.tensor(expected)).abs().max() < 0.06


def test_gradients():
    values = [TISSUES[:, 0], TISSUES[:, 1], torch.linspace(0.8, 1.1, 4), torch.linspace(0.7, 1, 4), torch.ones(4)]
    values = [value.double().clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(
        lambda t1, t2, pd, ie, b1: signals(SIEMENS, t1, t2, pd=pd, ie=ie, b1=b1), values, eps=1e-7, atol=1e-7
    )


def test_timing_travels_by_definitions_and_by_json(tmp_path):
    said = {
        "T2prepStart": 0.0, "T2prepTE": SIEMENS.t2prep_te, "InversionStart": SIEMENS.inversion_start,
        "InversionDuration": SIEMENS.inversion_duration, "TrainStarts": SIEMENS.train_starts, "TrainLength": 127.0,
        "EchoSpacing": 5.8e-3, "FlipAngles": SIEMENS.flip_angles, "TR": 4.5,
    }  # fmt: skip
    assert QalasTiming.from_definitions(said) == SIEMENS
    path = tmp_path / "timing.json"
    path.write_text(json.dumps(dataclasses.asdict(SIEMENS)))
    assert QalasTiming.from_json(path) == SIEMENS
    path.write_text(json.dumps({"preset": "siemens", "train_length": 127}))
    assert QalasTiming.from_json(path) == SIEMENS


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(ProtocolError, match="does not define TrainLength"):
        QalasTiming.from_definitions({
            "T2prepStart": 0.0, "T2prepTE": 0.1, "InversionStart": 0.9, "InversionDuration": 0.01, "TrainStarts": (1,),
            "EchoSpacing": 5.8e-3, "FlipAngles": (0.07,), "TR": 4.5,
        })  # fmt: skip
    with pytest.raises(ProtocolError, match="the inversion is at"):
        dataclasses.replace(SIEMENS, train_length=200)
    with pytest.raises(ProtocolError, match="either pulses or ie"):
        signals(SIEMENS, *TISSUES.T, ie=0.9, pulses=SIEMENS)
    path = tmp_path / "timing.json"
    path.write_text('{"preset": "ge", "echo_spacin": 1}')
    with pytest.raises(FileError, match="did you mean 'echo_spacing'"):
        QalasTiming.from_json(path)
    path.write_text('{"echo_spacing": 0.005}')
    with pytest.raises(FileError, match="has no t2prep_start"):
        QalasTiming.from_json(path)
