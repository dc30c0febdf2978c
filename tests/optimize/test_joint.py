"""Turns learn what they name and nothing else, and a run that was broken off ends as one that was not."""

from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.joint import Turn, learn_in_turns
from pulsetwin.optimize.loop import Loss
from pulsetwin.optimize.parameters import Parameter

PARAMETERS = {"a": Parameter(torch.tensor([1.0, -1.0])), "b": Parameter(torch.tensor(0.5), low=0.0)}
TURNS = [Turn(("a",), 30, 0.1, 0.1), Turn(("b",), 30, 0.1, 0.1), Turn(("a", "b"), 150, 0.1, 0.05)]


def loss_of(turn, fixed):
    """Least at b = 2, a = (2, 2); with a little noise from the generator."""

    def loss(values, step, generator):
        every = fixed | values
        noise = 1e-3 * torch.randn(2, generator=generator, dtype=torch.float64)
        total = (every["a"] - every["b"] + noise).square().sum() + (every["b"] - 2).square()
        return Loss(total, {"b": every["b"].detach()})

    return loss


def test_turns_learn_what_they_name():
    seen = []
    found = learn_in_turns(loss_of, PARAMETERS, TURNS, watch=lambda *told: seen.append(told))
    assert [step for step, _, _ in seen] == list(range(210))
    assert [len(history) for _, _, history in seen] == list(range(1, 211))
    assert all(set(values) == {"a", "b"} for _, values, _ in seen)
    assert all(float(values["b"]) == 0.5 for _, values, _ in seen[:31])
    assert all(torch.equal(values["a"], seen[30][1]["a"]) for _, values, _ in seen[30:61])
    assert [line["loss"] for line in seen[-1][2]] == [line["loss"] for line in found.history]
    assert float(found.history[29]["b"]) == 0.5
    assert [line["turn"] for line in found.history] == [0] * 30 + [1] * 30 + [2] * 150
    assert torch.allclose(found.values["a"], torch.full((2,), 2.0, dtype=torch.float64), atol=0.01)
    assert float(found.values["b"]) == pytest.approx(2.0, abs=0.01)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [17, 30, 100])
def test_a_resumed_run_is_bit_identical(at, tmp_path):
    whole = learn_in_turns(loss_of, PARAMETERS, TURNS, seed=2)

    def stop(done, total, what):
        assert total == 210
        if done == at:
            raise Stopped

    with pytest.raises(Stopped):
        learn_in_turns(loss_of, PARAMETERS, TURNS, seed=2, folder=tmp_path, every=8, progress=stop)
    again = learn_in_turns(loss_of, PARAMETERS, TURNS, seed=2, folder=tmp_path, every=8)
    assert again.history == whole.history
    for name, value in whole.values.items():
        assert torch.equal(again.values[name], value)


def test_turns_that_are_over_ask_for_no_loss(tmp_path):
    learn_in_turns(loss_of, PARAMETERS, TURNS, folder=tmp_path)

    def none(turn, fixed):
        raise AssertionError("the loss was made")

    learn_in_turns(none, PARAMETERS, TURNS, folder=tmp_path)


def test_unknown_parameters_are_refused():
    with pytest.raises(ProtocolError, match="'c'"):
        learn_in_turns(loss_of, PARAMETERS, [Turn(("c",), 1, 0.1)])
