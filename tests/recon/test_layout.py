from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.layout import is_cartesian, layout
from tests.synthetic import FOV, cartesian_positions, scan

SHAPE = (4, 6, 8)


def planned(positions: np.ndarray, shape: tuple[int, int, int] = SHAPE, **labels: np.ndarray):
    samples = np.zeros((len(positions), 1, positions.shape[1]), complex)
    raw = scan(samples, positions, shape, labels=labels)
    return layout(raw, raw.groups[0])


def test_lines_find_their_cells() -> None:
    plan, warnings = planned(cartesian_positions(SHAPE))
    np.testing.assert_array_equal(plan.ky, np.tile(np.arange(6), 4))
    np.testing.assert_array_equal(plan.kz, np.repeat(np.arange(4), 6))
    assert plan.shape == (8, 6, 4)
    assert warnings == []


@pytest.mark.parametrize("shift", [0.5, -0.25, 0.1])
def test_a_common_offset_of_the_lines_is_kept_apart(shift: float) -> None:
    positions = cartesian_positions(SHAPE)
    positions[..., 1] += shift / FOV[1]
    plan, _ = planned(positions)
    assert plan.shift[0] == pytest.approx((shift + 0.5) % 1 - 0.5, abs=1e-9)
    assert len(np.unique(plan.cell)) == len(positions)


def test_labels_make_contrasts_slices_and_averages() -> None:
    once = cartesian_positions((1, 6, 8))
    positions = np.concatenate([once] * 12)
    slice_, echo, average = (np.repeat(np.arange(12) // d % n, 6) for d, n in ((1, 3), (3, 2), (6, 2)))
    plan, warnings = planned(positions, (1, 6, 8), SLC=slice_, ECO=echo, AVG=average)
    assert (len(plan.contrasts), plan.slices, plan.averages) == (2, 3, 2)
    assert plan.contrasts == ({"ECO": 0}, {"ECO": 1})
    assert (plan.counts() == 2).all()
    assert warnings == []


def test_unlabelled_repeats_become_repetitions_and_are_announced() -> None:
    positions = np.concatenate([cartesian_positions((1, 6, 8))] * 3)
    plan, warnings = planned(positions, (1, 6, 8))
    assert plan.contrasts == ({"REP": 0}, {"REP": 1}, {"REP": 2})
    assert (plan.counts() == 1).all()
    assert "3 repetitions" in warnings[0]


def test_some_lines_acquired_twice_are_averaged_and_announced() -> None:
    positions = cartesian_positions((1, 6, 8))
    plan, warnings = planned(np.concatenate([positions, positions[2:4]]), (1, 6, 8))
    assert plan.averages == 2
    assert "averaged" in warnings[0]


def test_a_trajectory_beyond_the_matrix_is_refused() -> None:
    with pytest.raises(ProtocolError, match="FOV definition"):
        planned(cartesian_positions((1, 12, 8)), (1, 6, 8))


def test_radial_and_jittered_lines_are_not_cartesian() -> None:
    positions = cartesian_positions((1, 6, 8))
    raw = scan(np.zeros((6, 1, 8), complex), positions, (1, 6, 8))
    assert is_cartesian(raw.groups[0], FOV)
    positions[:, :, 1] += np.linspace(0, 3, 8) / FOV[1]
    raw = scan(np.zeros((6, 1, 8), complex), positions, (1, 6, 8))
    assert not is_cartesian(raw.groups[0], FOV)
    positions = cartesian_positions((1, 6, 8))
    positions[:, :, 1] += np.array([0, 0.3, 0, 0, -0.3, 0])[:, None] / FOV[1]
    raw = scan(np.zeros((6, 1, 8), complex), positions, (1, 6, 8))
    assert not is_cartesian(raw.groups[0], FOV)


def test_the_line_at_plus_half_the_matrix_is_that_at_minus_half() -> None:
    positions = cartesian_positions((1, 6, 8))
    plan, _ = planned(-positions, (1, 6, 8))
    np.testing.assert_array_equal(plan.ky, [0, 5, 4, 3, 2, 1])
