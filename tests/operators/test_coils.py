from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ShapeError
from pulsetwin.operators.coils import Coils
from tests.operators.operator_checks import close, randn


def test_multiplies_each_map():
    maps, image = randn((3, 4, 5), torch.complex64, 0), randn((2, 4, 5), torch.complex64, 1)
    data = Coils(maps)(image)
    close(data[1, 2], maps[2] * image[1], 1e-6)
    close(Coils(maps).adjoint(data), (maps.conj() * data).sum(1), 1e-6)


def test_wrong_shapes_raise():
    coils = Coils(randn((3, 4, 5), torch.complex64, 0))
    with pytest.raises(ShapeError, match="grid"):
        coils(randn((5, 4), torch.complex64, 1))
    with pytest.raises(ShapeError, match="compress both"):
        coils.adjoint(randn((2, 4, 5), torch.complex64, 1))
