"""Events that a sequence knows: each is registered once, so that a block of known events is a row of numbers.

A scan has tens of thousands of repetitions but only hundreds of different events. pypulseq compresses the shape of a
pulse anew each time it is added, unless the event carries the number under which the sequence keeps it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pypulseq as pp

_known: WeakKeyDictionary[pp.Sequence, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()


def add_block(seq: pp.Sequence, *events: Any) -> None:
    """Add a block, as the sequence's own method does; events that were there before are not registered again.

    Events are the same if their values are, and if they hold the same arrays: these must not be changed in place.
    """
    known = _known.setdefault(seq, {})
    seq.add_block(*(_numbered(seq, known, event) for event in events))


def registered(seq: pp.Sequence, event: Any) -> Any:
    """Return a copy of an event that carries its number in a sequence, which need not look it up again."""
    known = SimpleNamespace(**vars(event))
    if event.type == "rf":
        known.id, known.shape_IDs = seq.register_rf_event(event)
    elif event.type == "trap":
        known.id = seq.register_grad_event(event)
    elif event.type == "grad":
        known.id, known.shape_IDs = seq.register_grad_event(event)
    elif event.type == "adc":
        known.id, known.shape_id = seq.register_adc_event(event)
    elif event.type in ("labelset", "labelinc"):
        known.id = seq.register_label_event(event)
    return known


def _numbered(seq: pp.Sequence, known: dict[tuple[Any, ...], Any], event: Any) -> Any:
    """Return the registered copy of an event; pulses that share arrays share the shapes too."""
    kind = event.type
    if kind == "delay" or hasattr(event, "id"):
        return event
    parts = tuple(vars(event).values())
    if kind in ("trap", "labelset", "labelinc"):
        key, arrays = parts, ()
    else:
        arrays = tuple(id(part) for part in parts if isinstance(part, np.ndarray))
        key = tuple(id(part) if isinstance(part, np.ndarray) else part for part in parts)
    if key not in known:
        if kind == "rf" and arrays in known:
            event = SimpleNamespace(**vars(event), shape_IDs=known[arrays].shape_IDs)
        known[key] = registered(seq, event)  # which keeps the arrays, so that no others take their place in memory
        if kind == "rf":
            known.setdefault(arrays, known[key])
    return known[key]
