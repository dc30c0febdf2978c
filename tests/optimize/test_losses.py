"""Losses against direct sums, and their gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pulsetwin.errors import ShapeError
from pulsetwin.optimize.losses import contrast_errors, dissimilarity, relative_l1, relative_l2, tissue_means


def images(seed=0, size=20):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((size, size), generator=generator, dtype=torch.complex128) + 3 for _ in range(2)]


def test_relative_errors():
    image, target = images()
    assert float(relative_l2(image, target)) == pytest.approx(
        np.linalg.norm(image - target) ** 2 / np.linalg.norm(target) ** 2
    )
    assert float(relative_l1(image, target)) == pytest.approx(float((image - target).abs().sum() / target.abs().sum()))
    assert float(relative_l2(target, target)) == 0


def test_structural_similarity_is_that_of_gaussian_filters():
    one, two = (image.abs().numpy() for image in images())

    def mean(x):
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    m1, m2 = mean(one), mean(two)
    c1, c2 = (0.01 * two.max()) ** 2, (0.03 * two.max()) ** 2
    v1, v2, both = mean(one**2) - m1**2, mean(two**2) - m2**2, mean(one * two) - m1 * m2
    expected = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))
    assert float(dissimilarity(*images())) == pytest.approx(1 - expected.mean(), rel=1e-6)
    assert float(dissimilarity(images()[0], images()[0])) == pytest.approx(0, abs=1e-9)


def test_contrasts_ignore_the_scale_but_not_the_tissue():
    image = torch.ones(8, 8, dtype=torch.complex128)
    weights = torch.zeros(2, 8, 8, dtype=torch.float64)
    weights[0, :4], weights[1, 4:] = 1, 1
    target = image.clone()
    target[4:] *= 2
    assert torch.allclose(tissue_means(target, weights), torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert float(contrast_errors(5 * target, target, weights).abs().max()) < 1e-9
    assert contrast_errors(image, target, weights).tolist() == pytest.approx([1 / (2 / 3) - 1, 1 / (4 / 3) - 1])


@pytest.mark.parametrize("loss", [relative_l2, relative_l1, dissimilarity])
def test_slopes_are_those_of_differences(loss):
    image, target = images(1, 12)
    image.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), image, atol=1e-6)
    loss(target.clone().requires_grad_(), target).backward()


def test_shapes_must_agree():
    with pytest.raises(ShapeError):
        relative_l2(torch.zeros(3), torch.zeros(1, 3))
    with pytest.raises(ShapeError):
        dissimilarity(torch.zeros(8, 8), torch.zeros(8, 8))
