from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.solve import conjugate_gradient
from tests.operators.operator_checks import close, randn


@pytest.fixture
def system():
    """Three positive definite systems of size 12, double precision."""
    half = randn((3, 12, 12), torch.complex128, 0)
    matrix = half @ half.mH + torch.eye(12)
    return (lambda x: (matrix @ x[..., None])[..., 0]), matrix, randn((3, 12), torch.complex128, 1)


def test_solves_each_system_of_a_batch(system):
    normal, matrix, rhs = system
    solved = conjugate_gradient(normal, rhs, iterations=200, tolerance=1e-12, batch_axes=1)
    close(solved, torch.linalg.solve(matrix, rhs), 1e-10)


def test_takes_a_batch_as_one_system_too(system):
    normal, matrix, rhs = system
    close(conjugate_gradient(normal, rhs, iterations=300, tolerance=1e-12), torch.linalg.solve(matrix, rhs), 1e-10)


def test_systems_of_a_batch_do_not_meet(system):
    normal, _, rhs = system
    changed = rhs.clone()
    changed[1:] *= torch.tensor([1e6, 0.0])[:, None]
    first, second = (conjugate_gradient(normal, b, iterations=7, tolerance=0.0, batch_axes=1) for b in (rhs, changed))
    assert torch.equal(first[0], second[0])
    close(second[1], 1e6 * first[1], 1e-12)
    assert not second[2].any()


@pytest.mark.parametrize("factor", [1e-6, 1e6, 1e-30])
def test_scaling_the_data_scales_the_result(system, factor):
    _, matrix, rhs = system
    matrix = matrix.to(torch.complex64)
    rhs = rhs.to(torch.complex64)
    solve = lambda b: conjugate_gradient(lambda x: (matrix @ x[..., None])[..., 0], b, iterations=9, tolerance=1e-4)  # noqa: E731
    close(solve(factor * rhs) / factor, solve(rhs), 1e-4)


def test_tolerance_is_relative_and_callback_sees_it(system):
    normal, _, rhs = system
    seen = []
    solved = conjugate_gradient(
        normal, 1e-9 * rhs, iterations=200, tolerance=1e-3, callback=lambda i, x, r: seen.append((i, x, r))
    )
    residual = torch.linalg.vector_norm(normal(solved) - 1e-9 * rhs) / torch.linalg.vector_norm(1e-9 * rhs)
    assert [i for i, _, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][2] <= 1e-3 < seen[-2][2]
    assert float(residual) == pytest.approx(seen[-1][2], rel=1e-6)
    assert torch.equal(seen[-1][1], solved)


def test_warm_start_at_the_solution_needs_no_iteration(system):
    normal, matrix, rhs = system
    solution = torch.linalg.solve(matrix, rhs)
    kept = solution.clone()
    seen = []
    solved = conjugate_gradient(
        normal, rhs, iterations=50, tolerance=1e-8, start=solution, callback=lambda *a: seen.append(a)
    )
    assert not seen
    close(solved, solution, 1e-14)
    assert torch.equal(solution, kept)


def test_zero_data_give_zero(system):
    normal, _, rhs = system
    assert not conjugate_gradient(normal, 0 * rhs, iterations=5, tolerance=1e-3).any()


def test_nans_raise(system):
    normal, _, rhs = system
    rhs = rhs.clone()
    rhs[0, 0] = float("nan")
    with pytest.raises(ProtocolError, match="NaN"):
        conjugate_gradient(normal, rhs, iterations=5, tolerance=1e-3)


def test_wrong_arguments_raise(system):
    normal, _, rhs = system
    with pytest.raises(ShapeError):
        conjugate_gradient(normal, rhs, iterations=5, tolerance=1e-3, start=rhs[0])
    with pytest.raises(ProtocolError):
        conjugate_gradient(normal, rhs, iterations=-1, tolerance=1e-3)


def test_gradient_flows_through_the_solver(system):
    normal, matrix, rhs = system
    rhs = rhs.requires_grad_()
    weights = randn((3, 12), torch.complex128, 3)
    solved = conjugate_gradient(normal, rhs, iterations=60, tolerance=1e-13, batch_axes=1)
    (gradient,) = torch.autograd.grad(solved, rhs, weights)
    close(gradient, torch.linalg.solve(matrix.mH, weights), 1e-6)
