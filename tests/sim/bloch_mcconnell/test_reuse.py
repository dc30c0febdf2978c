"""Pairs of maps are joined without changing what is played."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsetwin.sim.bloch_mcconnell.reuse import joined

KNOWN = 4


def unfolded(path, turns, products, between):
    """Return the maps and turns that a path stands for."""
    found = []
    for number, turn in zip(path, turns, strict=True):
        if number < KNOWN:
            found.append((number, turn))
        else:
            pair = products[number - KNOWN]
            found += unfolded(pair, (turn, between[number - KNOWN]), products, between)
    return found


def check(path, turns):
    products, between, short, left = joined(np.array(path), np.array(turns), KNOWN)
    again = unfolded(short.tolist(), left.tolist(), products.tolist(), between.tolist())
    assert again == list(zip(path, turns, strict=True))
    return len(short), len(products)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, KNOWN - 1), st.sampled_from([0.0, 0.5, -1.2])), min_size=1, max_size=150))
def test_the_same_is_played(events):
    check(*zip(*events, strict=True))


def test_long_trains_are_powers():
    length, products = check([1, 2] * 512, [0.0, 0.3] * 512)
    assert length < 20
    assert products < 12


def test_rare_pairs_are_left_alone():
    assert check([1, 2, 3] * 3, [0.0] * 9) == (9, 0)
