"""The best entry of a dictionary: the same as trying all in double precision, constrained or not."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.cest_mrf.by_dictionary import by_dictionary, windows_about
from pulsetwin.recon.cest_mrf.dictionary import Dictionary
from pulsetwin.recon.cest_mrf.grid import Cartesian, Hypercube
from pulsetwin.recon.cest_mrf.match import match
from tests.recon.cest_mrf.cases import curves

GRID = Cartesian(
    {"t1": np.linspace(1, 2, 7), "t2": np.linspace(0.05, 0.1, 5), "mt.fraction": np.linspace(0, 0.2, 11),
     "mt.exchange_rate": np.linspace(10, 100, 13)}
)  # fmt: skip


def brute(data, signals, allowed=None):
    """Row and inner product of the first best entry, by double precision sums in order of the measurements."""
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (data, signals.astype(np.float64)))
    products = np.zeros((len(one), len(other)))
    for k in range(one.shape[1]):
        products += one[:, k, None] * other[:, k]
    if allowed is not None:
        products[~allowed] = -np.inf
    best = products.argmax(1)
    return best, products[np.arange(len(one)), best]


def measured(dictionary, count, noise, seed=0):
    rng = np.random.default_rng(seed)
    signals = dictionary.signals[rng.integers(len(dictionary.signals), size=count)]
    return signals * rng.uniform(1, 900, (count, 1)) * (1 + noise * rng.standard_normal(signals.shape))


@pytest.fixture(scope="module")
def dictionary():
    return curves(GRID)


@pytest.mark.parametrize("noise", [0, 1e-5, 1e-2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bit_for_bit_that_of_trying_all(dictionary, noise, dtype):
    held = Dictionary(GRID, dictionary.signals.astype(dtype))
    data = measured(dictionary, 700, noise)
    found = match(data, held, threads=2)
    entry, likeness = brute(data, held.signals)
    np.testing.assert_array_equal(found.entry, entry)
    np.testing.assert_array_equal(found.likeness, likeness)


def test_parts_of_the_dictionary_in_turn_give_the_same(dictionary):
    data = measured(dictionary, 300, 1e-2)
    whole, parts = match(data, dictionary), match(data, dictionary, memory=500_000)
    np.testing.assert_array_equal(whole.entry, parts.entry)
    np.testing.assert_array_equal(whole.likeness, parts.likeness)


def test_the_first_of_equal_entries_is_taken(dictionary):
    twice = Cartesian({"b1": np.array([0.9, 1.1]), **GRID.axes})
    data = measured(dictionary, 50, 1e-3)
    for memory in (1e9, 700_000):
        found = match(data, Dictionary(twice, np.tile(dictionary.signals, (2, 1))), memory=memory)
        np.testing.assert_array_equal(found.entry, match(data, dictionary).entry)


def test_entries_outside_the_windows_do_not_count(dictionary):
    rng = np.random.default_rng(1)
    data = measured(dictionary, 400, 1e-2)
    t1 = rng.uniform(1, 2, 400)
    windows = {"t1": (0.9 * t1, 1.1 * t1), "mt.exchange_rate": (np.full(400, 40.0), np.full(400, 60.0))}
    table = GRID.table(0, len(GRID))
    allowed = np.abs(table[:, 0] / t1[:, None] - 1) <= 0.1
    allowed &= (table[:, 3] >= 40) & (table[:, 3] <= 60)
    found = match(data, dictionary, windows)
    entry, likeness = brute(data, dictionary.signals, allowed)
    some = allowed.any(1)
    np.testing.assert_array_equal(found.entry[some], entry[some])
    np.testing.assert_array_equal(found.likeness[some], likeness[some])
    assert (found.entry[~some] == -1).all()


def test_windows_of_random_entries():
    ranges = {"t1": (1.0, 2.0), "b1": (0.7, 1.3), "mt.fraction": (0.0, 0.2)}
    grid = Hypercube(ranges, 20_000, 5)
    signals = curves(grid).signals
    data = measured(Dictionary(grid, signals), 200, 1e-2)
    rng = np.random.default_rng(2)
    given = {"t1": rng.uniform(1, 2, 200), "b1": rng.uniform(0.7, 1.3, 200)}
    found = by_dictionary(data, Dictionary(grid, signals), given)
    table = grid.table(0, len(grid))
    allowed = (np.abs(table[:, 0] - given["t1"][:, None]) <= 0.2 * given["t1"][:, None]) & (
        np.abs(table[:, 1] - given["b1"][:, None]) <= 0.1
    )
    entry, _ = brute(data, signals, allowed)
    np.testing.assert_array_equal(found.values["mt.fraction"], table[entry, 2])


@pytest.mark.parametrize("loss", [1e-6, 1e-4, 1e-2])
def test_the_loss_is_bounded(dictionary, loss):
    data = measured(dictionary, 500, 0.05)
    found = match(data, dictionary, loss=loss)
    _, likeness = brute(data, dictionary.signals)
    assert (found.likeness <= likeness).all()
    assert (found.likeness >= likeness - loss).all()


def test_known_values_take_the_nearest_of_a_grid():
    given = {"t1": np.array([0.9, 0.93, 1.07, 1.1, 2.07, 2.1])}
    low, high = windows_about(GRID, given)["t1"]
    np.testing.assert_array_equal(low, high)
    np.testing.assert_allclose(low, [np.nan, 1, 1, 7 / 6, 2, np.nan])
    with pytest.raises(ProtocolError, match="b1 is given, but the dictionary does not vary it"):
        windows_about(GRID, {"b1": np.ones(6)})


def test_voxels_without_signal_have_no_match(dictionary):
    data = np.array([np.zeros(12), np.full(12, np.nan), dictionary.signals[7]])
    found = by_dictionary(data, dictionary, {})
    assert np.isnan(found.misfit[:2]).all()
    assert found.misfit[2] == 0
    assert found.values["mt.exchange_rate"][2] == GRID.table(7, 8)[0, 3]


def test_inputs_are_checked(dictionary):
    with pytest.raises(ShapeError, match="the dictionary has 12 measurements"):
        match(np.ones((3, 11)), dictionary)
    with pytest.raises(ShapeError, match="window of t1"):
        match(np.ones((3, 12)), dictionary, {"t1": (np.ones(2), np.ones(2))})
    with pytest.raises(ProtocolError, match="b1 is constrained but not in the dictionary"):
        match(np.ones((3, 12)), dictionary, {"b1": (np.ones(3), np.ones(3))})


@pytest.mark.parametrize("memory", [2e9, 500_000])
def test_entries_without_signal_are_left_out(dictionary, memory):
    """As those of a B1 of 0, a whole part of the dictionary here."""
    signals = dictionary.signals.copy()
    signals[:1200] = 0
    signals[2000:2010] = np.nan
    data = measured(dictionary, 300, 1e-2)
    windows = {"t1": (np.full(300, 1.0), np.full(300, 1.9))}
    t1 = GRID.table(0, len(GRID))[:, 0]
    allowed = np.isfinite(signals).all(1) & signals.any(1)
    for given, some in (({}, allowed), (windows, allowed & (t1 <= 1.9))):
        found = match(data, Dictionary(GRID, signals), given, memory=memory)
        with np.errstate(invalid="ignore"):
            entry, likeness = brute(data, signals, np.broadcast_to(some, (300, len(some))))
        np.testing.assert_array_equal(found.entry, entry)
        np.testing.assert_array_equal(found.likeness, likeness)
