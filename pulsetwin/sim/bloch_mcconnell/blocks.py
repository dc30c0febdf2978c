"""Products of blocks of matrices whose entries lie in the lanes of vector registers, as the compiler is told them."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 8
"""Entries that are computed together."""


def block(rows: int, columns: int) -> Any:
    """Return the compiled product of some rows of a matrix with some columns of another.

    In each lane l it sets ``out[to + r out_width + c LANES + l]`` to the sum over ``k < count`` of
    ``left[at + r left_width + k LANES + l] right[start + k right_width + c LANES + l]``, or adds that where `add` is
    true. The sums stay in registers, which loops of the same meaning do not achieve: the compiler cannot tell that the
    arrays do not overlap.
    """

    @intrinsic
    def product(
        typing: Any, out: Any, to: Any, out_width: Any, left: Any, at: Any, left_width: Any, right: Any, start: Any,
        right_width: Any, count: Any, add: Any,
    ) -> Any:  # fmt: skip
        kinds = (out, to, out_width, left, at, left_width, right, start, right_width, count, add)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _generate(context, builder, signature.args, arguments, rows, columns)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return product


def _generate(context: Any, builder: Any, kinds: Any, arguments: Any, rows: int, columns: int) -> None:
    """Write the instructions of `block`."""
    _, to, out_width, _, at, left_width, _, start, right_width, count, add = arguments
    vector, number = ir.VectorType(ir.DoubleType(), LANES), count.type
    data = [context.make_array(kinds[k])(context, builder, arguments[k]).data for k in (0, 3, 6)]
    zero, keep = ir.Constant(vector, [0.0] * LANES), builder.trunc(add, ir.IntType(1))

    def times(factor: int, value: Any) -> Any:
        return builder.mul(value, ir.Constant(number, factor))

    def place(array: Any, *parts: Any) -> Any:
        return builder.bitcast(builder.gep(array, [functools.reduce(builder.add, parts)]), vector.as_pointer())

    targets = {
        (r, c): place(data[0], to, times(r, out_width), ir.Constant(number, c * LANES))
        for r in range(rows)
        for c in range(columns)
    }
    sums = {key: cgutils.alloca_once_value(builder, zero) for key in targets}
    for key, target in targets.items():
        builder.store(builder.select(keep, builder.load(target, align=8), zero), sums[key])
    with cgutils.for_range(builder, count) as loop:
        k, step = times(LANES, loop.index), builder.mul(loop.index, right_width)
        a = [builder.load(place(data[1], at, times(r, left_width), k), align=8) for r in range(rows)]
        b = [builder.load(place(data[2], start, step, ir.Constant(number, c * LANES)), align=8) for c in range(columns)]
        for (r, c), total in sums.items():
            term = builder.fmul(a[r], b[c], flags=("contract",))
            builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
    for key, target in targets.items():
        builder.store(builder.load(sums[key]), target, align=8)
