"""Distinct rows, against numpy's own."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.sequences.distinct import distinct_rows


@pytest.mark.parametrize(
    ("rows", "columns", "largest"), [(0, 3, 5), (1, 4, 5), (200, 1, 9), (999, 5, 3), (500, 6, 10**6)]
)
def test_as_numpy(rows, columns, largest):
    table = np.random.default_rng(rows).integers(-1, largest, (rows, columns))
    table = np.concatenate((table, table[::3]))
    first, index = distinct_rows(table)
    values, numpys_first, numpys_index = np.unique(table, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(first, numpys_first)
    np.testing.assert_array_equal(index, numpys_index.reshape(-1))
    np.testing.assert_array_equal(table[first], values)


def test_products_of_the_largest_tables_fit():
    """A million rows with event numbers up to the largest of the format."""
    table = np.full((1_000_000, 5), 2**31 - 1)
    table[::2, 4] = -1
    first, index = distinct_rows(table)
    np.testing.assert_array_equal(first, [0, 1])
    assert index[:4].tolist() == [0, 1, 0, 1]
