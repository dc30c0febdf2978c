"""Every registered operator, at random shapes with sizes 1 and odd, in both precisions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.operator_checks import REGISTERED, check_all

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=["single", "double"])
@pytest.mark.parametrize("make", REGISTERED.values(), ids=REGISTERED)
@given(shape=SHAPES, seed=st.integers(0, 2**20))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_operator(make, dtype, shape, seed):
    check_all(make(shape, dtype, seed), dtype)
