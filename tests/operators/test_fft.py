from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.operators.fft import fft, ifft
from tests.operators.operator_checks import close, randn


@pytest.mark.parametrize("shape", [(1,), (8,), (7,), (6, 10), (5, 8), (3, 4, 6), (5, 1, 7)])
def test_is_the_centred_orthonormal_sum(shape):
    image = randn((2, *shape), torch.complex128, 0)
    expected = image.numpy()
    for axis, n in enumerate(shape, 1):
        offset = np.arange(n) - n // 2
        matrix = np.exp(-2j * np.pi * np.outer(offset, offset) / n) / np.sqrt(n)
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    axes = range(1, 1 + len(shape))
    close(fft(image, axes), torch.from_numpy(expected), 1e-13)
    close(ifft(torch.from_numpy(expected), axes), image, 1e-13)


def test_some_axes_only_and_real_input():
    image = randn((3, 4, 5), torch.float64, 1)
    close(fft(image, (-2,)), fft(image.to(torch.complex128), (1,)), 1e-15)
    assert fft(image.float(), (0,)).dtype == torch.complex64
