"""Instructions of `kernel.play_lanes`: a map is made before its first use; its place is free after the last."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import Array
from pulsetwin.sim.bloch_mcconnell import kernel
from pulsetwin.sim.bloch_mcconnell.program import CRUSH, DEPHASE, RECORD, RESET, Program


def schedule(program: Program) -> tuple[Array, Array, int]:
    """Return instructions, int64 ``[instruction, 4]``, the turn of each [rad], and the number of slots for maps.

    An instruction is an operation; the slot of the map it makes or applies, or the number of its record, of the record
    before it begins anew, or of its dephasing; and what it is made of: a chain, or the slots of two maps.
    """
    orders: list[tuple[int, int, int, int, float]] = []
    made: set[int] = set()
    records = 0
    for number, turn in zip(program.path.tolist(), program.path_turn.tolist(), strict=True):
        if number == RECORD:
            orders.append((kernel.RECORD, records, 0, 0, 0.0))
            records += 1
        elif number == RESET:
            orders.append((kernel.RESET, records - 1, 0, 0, 0.0))
        elif number == CRUSH:
            orders.append((kernel.CRUSH, 0, 0, 0, 0.0))
        elif number <= DEPHASE:
            orders.append((kernel.DEPHASE, DEPHASE - number, 0, 0, 0.0))
        else:
            _make(number, program, made, orders)
            orders.append((kernel.APPLY, number, 0, 0, turn))
    return _placed(orders)


def _make(number: int, program: Program, made: set[int], orders: list[tuple[int, int, int, int, float]]) -> None:
    """Append what makes a map, and before it what makes the maps it is a product of."""
    if number in made:
        return
    made.add(number)
    chains = len(program.chain) - 1
    if number == CRUSH:
        orders.append((kernel.CRUSHER, number, 0, 0, 0.0))
    elif number <= chains:
        orders.append((kernel.CHAIN, number, number - 1, 0, 0.0))
    else:
        first, second = program.product[number - chains - 1].tolist()
        _make(first, program, made, orders)
        _make(second, program, made, orders)
        orders.append((kernel.PRODUCT, number, first, second, float(program.product_turn[number - chains - 1])))


def _placed(orders: list[tuple[int, int, int, int, float]]) -> tuple[Array, Array, int]:
    """Return instructions whose maps are named by slots."""
    used: dict[int, int] = {}
    for at, order in enumerate(orders):
        used |= dict.fromkeys(_maps(order), at)
    slot: dict[int, int] = {}
    free: list[int] = []
    most = 0
    code = np.zeros((len(orders), 4), np.int64)
    for at, order in enumerate(orders):
        operation, made, first, second, _ = order
        if operation in (kernel.CHAIN, kernel.PRODUCT, kernel.CRUSHER):
            slot[made] = free.pop() if free else most
            most = max(most, slot[made] + 1)
        if operation == kernel.PRODUCT:
            first, second = slot[first], slot[second]
        kept = operation in (kernel.RECORD, kernel.RESET, kernel.DEPHASE)
        code[at] = operation, made if kept else slot.get(made, 0), first, second
        free += [slot.pop(number) for number in set(_maps(order)) if used[number] == at]
    return code, np.array([order[4] for order in orders]), most


def _maps(order: tuple[int, int, int, int, float]) -> tuple[int, ...]:
    """Return the maps that an instruction makes or uses."""
    operation, made, first, second, _ = order
    if operation == kernel.PRODUCT:
        return made, first, second
    return (made,) if operation in (kernel.CHAIN, kernel.CRUSHER, kernel.APPLY) else ()
