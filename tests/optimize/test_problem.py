"""Problems that cannot be solved as they are put are refused, and limits that are missed are named."""

from __future__ import annotations

import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.experiment import experiment_from
from pulsetwin.optimize.problem import problem_of


def problem(free, *, sequence=None, **tables):
    sequence = {"kind": "gradient_echoes", "matrix": 8} | (sequence or {})
    own = {"sequence": sequence, "phantom": {"name": "shepp-logan"}, "learn": {"free": free}, **tables}
    return problem_of(experiment_from(own, "file"))


def test_limits_that_are_missed_are_named():
    """Of flip angles a tenth above or below sqrt(limit) times the target's, and within 1 %."""
    asked = problem(["flip_angle", "spoil"], limits={"sar": 0.25, "pns": 100.0})
    flip_angle = asked.scheme.values["flip_angle"]
    for share, names in ((0.55, ["sar"]), (0.501, []), (0.45, [])):
        timeline = asked.timeline({"flip_angle": share * flip_angle})
        assert asked.exceeded(timeline) == names
        assert {name: limit for name, (_, limit) in asked.limited(timeline).items()} == {"sar": 0.25, "pns": 100.0}
    strong = {"spoil": 1e5 * asked.scheme.values["spoil"]}
    assert asked.exceeded(asked.timeline(strong)) == ["sar", "pns"]
    assert problem(["flip_angle"]).exceeded(timeline) == []


@pytest.mark.parametrize(
    ("free", "limits", "told"),
    [
        (["flip_angle", "phase"], {"pns": 80.0}, r"\[limits\] pns = 80: flip_angle, phase leave the gradients"),
        (["spoil"], {"sar": 0.5}, r"\[limits\] sar = 0.5: spoil leave the flip angles as they are: free what"),
    ],
)
def test_limits_of_what_is_not_learnt_are_refused(free, limits, told):
    with pytest.raises(ProtocolError, match=told):
        problem(free, limits=limits)


def test_spin_echoes_have_no_gradients_to_limit():
    with pytest.raises(ProtocolError, match="refocusing leave the gradients"):
        problem(["refocusing"], sequence={"kind": "spin_echoes"}, limits={"pns": 80.0})


def test_a_target_out_of_its_bounds_is_named_with_what_helps():
    """A spoiler of 64 cycles across a voxel of 12.5 mm in 1.2 ms is out of reach."""
    strong = {"spoiling": 64.0, "tr": 4.5e-3, "matrix": 16}
    told = r"spoil: the target has \d+ 1/m, and \[limits\] gradients allows [\d.]+ 1/m: give \[learn\] start = \"zero\""
    with pytest.raises(ProtocolError, match=told):
        problem(["flip_angle", "spoil"], sequence=strong, limits={"gradients": True})
    assert problem(["spoil"], limits={"gradients": True}).parameters["spoil"].start.abs().max() > 0
