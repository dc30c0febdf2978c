"""Images by few plain steps: of many signals as of each, by one kernel, and only by methods that there are."""

from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.nufft import Nufft
from pulsetwin.recon.direct_images import METHODS, direct_image, encoding

FOV = (0.2, 0.2, 5e-3)


def samples(*batch, seed=0):
    return torch.randn((*batch, 40), generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def transform():
    """Return a transform to samples anywhere."""
    return encoding(20 * samples(3, seed=1).real.T, FOV, (6, 5))


def test_methods_that_there_are_not_are_refused():
    with pytest.raises(ProtocolError, match=r"no method 'steepest' .* adjoint, gradient, cg"):
        direct_image(samples(), transform(), "steepest")


@pytest.mark.parametrize("method", METHODS)
def test_images_of_many_signals_are_those_of_each(method):
    signals, own = samples(2, 3), transform()
    scales = torch.tensor([1.0, 1e3, 1e-3])[:, None]  # steps of one are not those of another
    found = direct_image(signals * scales, own, method, 6)
    assert found.shape == (2, 3, 6, 5)
    for place in ((0, 0), (1, 1), (0, 2)):
        one = direct_image(signals[place] * scales[place[1]], own, method, 6)
        assert float((found[place] - one).norm() / one.norm()) < 1e-10


@pytest.mark.parametrize("method", ["gradient", "cg"])
def test_many_signals_take_one_kernel(method, monkeypatch):
    made, toeplitz = [], Nufft.toeplitz
    monkeypatch.setattr(
        Nufft, "toeplitz", lambda self, *args, **named: made.append(1) or toeplitz(self, *args, **named)
    )
    own = transform()
    for seed in range(2):
        direct_image(samples(3, seed=seed), own, method, 4)
    assert len(made) == 1


def test_gradients_to_positions_are_those_of_differences():
    def energy(moved):
        return (direct_image(samples(2), encoding(moved, FOV, (6, 5)), "cg", 3) - 1).abs().square().sum()

    k, way = 20 * samples(3, seed=1).real.T, samples(3, seed=5).real.T
    leaf = k.clone().requires_grad_()
    energy(leaf).backward()
    high, low = (float(energy(k + sign * 1e-5 * way)) for sign in (1, -1))
    assert float((leaf.grad * way).sum()) == pytest.approx((high - low) / 2e-5, rel=1e-4)


def test_as_many_samples_as_positions():
    with pytest.raises(ShapeError, match="one each"):
        direct_image(samples(2)[..., 1:], transform())
