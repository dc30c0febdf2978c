"""What every linear operator must fulfil; an operator registers in `REGISTERED` and is checked at random shapes.

A check takes a `Case` and needs no knowledge of the operator. Another room's operators can be checked with three lines:
build a `Case`, call `check_all(case, dtype)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pulsetwin.operators.coils import Coils
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.operators.nufft import Nufft
from pulsetwin.operators.toeplitz import Toeplitz, kernel_shape

# Relative to the operator's own error: 20 times rounding for FFTs, the NUFFT's accuracy for its Toeplitz form.
ROUNDING = {torch.complex64: 2e-5, torch.complex128: 1e-12}
NORMAL = {torch.complex64: 2e-4, torch.complex128: 1e-10}


@dataclass(frozen=True)
class Case:
    """A linear operator with the shapes it maps between."""

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    normal: Callable[[Tensor], Tensor]
    domain: tuple[int, ...]
    codomain: tuple[int, ...]


def randn(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def inner(a: Tensor, b: Tensor) -> complex:
    return complex(torch.vdot(a.flatten().to(torch.complex128), b.flatten().to(torch.complex128)))


def close(a: Tensor, b: Tensor, tolerance: float) -> None:
    scale = float(torch.linalg.vector_norm(b)) + 1e-30
    assert float(torch.linalg.vector_norm(a - b)) <= tolerance * scale


def check_linear(case: Case, dtype: torch.dtype) -> None:
    x, y = randn(case.domain, dtype, 1), randn(case.domain, dtype, 2)
    image = case.forward(x)
    assert image.shape == case.codomain
    assert image.dtype == dtype
    close(case.forward((2 - 1j) * x + 0.5j * y), (2 - 1j) * image + 0.5j * case.forward(y), ROUNDING[dtype])


def check_adjoint(case: Case, dtype: torch.dtype) -> None:
    x, y = randn(case.domain, dtype, 3), randn(case.codomain, dtype, 4)
    image, back = case.forward(x), case.adjoint(y)
    assert back.shape == case.domain
    size = float(torch.linalg.vector_norm(image) * torch.linalg.vector_norm(y)) + 1e-30
    assert abs(inner(image, y) - inner(x, back)) <= ROUNDING[dtype] * size


def check_normal(case: Case, dtype: torch.dtype) -> None:
    x = randn(case.domain, dtype, 5)
    close(case.normal(x), case.adjoint(case.forward(x)), NORMAL[dtype])


def check_gradient(case: Case, dtype: torch.dtype) -> None:
    """The gradient of ``Re <y, A x>`` to x is ``A^H y``, as autograd finds it, and the other way round."""
    x, y = randn(case.domain, dtype, 6).requires_grad_(), randn(case.codomain, dtype, 7).requires_grad_()
    (gradient,) = torch.autograd.grad(case.forward(x), x, y.detach())
    close(gradient, case.adjoint(y.detach()), ROUNDING[dtype])
    (gradient,) = torch.autograd.grad(case.adjoint(y), y, x.detach())
    close(gradient, case.forward(x.detach()), ROUNDING[dtype])


def check_scaling(case: Case, dtype: torch.dtype) -> None:
    x = randn(case.domain, dtype, 8)
    for factor in (1e-6, 1e6):
        close(case.forward(factor * x) / factor, case.forward(x), ROUNDING[dtype])


def check_untouched(case: Case, dtype: torch.dtype) -> None:
    x, y = randn(case.domain, dtype, 9), randn(case.codomain, dtype, 10)
    kept_x, kept_y = x.clone(), y.clone()
    case.forward(x), case.adjoint(y), case.normal(x)
    assert torch.equal(x, kept_x)
    assert torch.equal(y, kept_y)


CHECKS = (check_linear, check_adjoint, check_normal, check_gradient, check_scaling, check_untouched)


def check_all(case: Case, dtype: torch.dtype) -> None:
    for check in CHECKS:
        check(case, dtype)


def make_fft(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Case:
    axes = tuple(range(-len(shape), 0))
    forward, adjoint = partial(fft, axes=axes), partial(ifft, axes=axes)
    return Case(forward, adjoint, lambda x: x, (2, *shape), (2, *shape))


def make_coils(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Case:
    coils = Coils(randn((3, *shape), dtype, seed))
    return Case(coils, coils.adjoint, coils.normal, (2, *shape), (2, 3, *shape))


def positions_for(shape: tuple[int, ...], points: int, seed: int) -> Tensor:
    """Positions over 1.2 times the sampled band, so that some alias."""
    uniform = torch.rand(points, len(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 1.2 * (uniform - 0.5) * torch.tensor(shape)


def make_nufft(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Case:
    nufft = Nufft(positions_for(shape, 12, seed).reshape(3, 4, -1), shape)
    return Case(nufft, nufft.adjoint, nufft.normal, (2, *shape), (2, 3, 4))


def make_toeplitz(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Case:
    spectrum = randn(kernel_shape(shape), dtype, seed).real.contiguous()
    toeplitz = Toeplitz(spectrum, shape)
    return Case(toeplitz, toeplitz.adjoint, toeplitz.normal, (2, *shape), (2, *shape))


REGISTERED = {"fft": make_fft, "coils": make_coils, "nufft": make_nufft, "toeplitz": make_toeplitz}
