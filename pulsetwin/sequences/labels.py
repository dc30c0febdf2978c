"""Pulseq labels (counters and flags) as they stand in each block."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import EXT, SeqFile


def evaluate(seq: SeqFile) -> dict[str, Array]:
    """Return the value of each label that the sequence uses, after the labels of the block, int32 ``[block]``.

    LABELSET and LABELINC of one block act in the reverse of their order in the file's list, which is the order in which
    they were added (as pypulseq's `evaluate_labels`); labels start at 0.
    """
    effects = [_effect(entries) for entries in seq.extensions.labels]
    names = sorted({name for effect in effects for name in effect})
    where = np.nonzero(seq.events[:, EXT] != NONE)[0]
    lists = seq.events[where, EXT]
    return {name: _evolution(effects, name, lists, where, len(seq)) for name in names}


def _effect(entries: tuple[tuple[bool, str, int], ...]) -> dict[str, tuple[bool, int]]:
    """Return for each label ``(set?, value)``: what one extension list does to it."""
    effect: dict[str, tuple[bool, int]] = {}
    for is_set, name, value in entries:
        before = effect.get(name, (False, 0))
        effect[name] = (True, value) if is_set else (before[0], before[1] + value)
    return effect


def _evolution(effects: list[dict[str, tuple[bool, int]]], name: str, lists: Array, where: Array, blocks: int) -> Array:
    is_set = np.array([effect.get(name, (False, 0))[0] for effect in effects])[lists]
    value = np.array([effect.get(name, (False, 0))[1] for effect in effects])[lists]
    added = np.cumsum(np.where(is_set, 0, value))
    last = np.maximum.accumulate(np.where(is_set, np.arange(len(lists)), -1))
    base = np.where(last < 0, 0, (value - added)[last])
    after = np.concatenate(([0], added + base))
    return after[np.searchsorted(where, np.arange(blocks), side="right")].astype(np.int32)


def flags(labels: dict[str, Array], events: int) -> dict[str, Array]:
    """Return the flags of `rawdata.FLAGS` that the labels NOISE, NAV, REF, IMA, REV and OFF imply, bool ``[event]``."""
    none = np.zeros(events, np.int32)
    on = {name: labels.get(name, none) > 0 for name in ("NOISE", "NAV", "REF", "IMA", "REV", "OFF")}
    return {
        "imaging": ~on["NOISE"] & ~on["NAV"] & ~on["OFF"] & (~on["REF"] | on["IMA"]),
        "noise": on["NOISE"],
        "navigator": on["NAV"],
        "reference": on["REF"] | on["IMA"],
        "reversed": on["REV"],
    }
