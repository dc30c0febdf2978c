"""Signals of many entries, such as the atoms of a dictionary, and their derivatives, by the compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.events import Array
from pulsetwin.sim.bloch_mcconnell.blocks import LANES
from pulsetwin.sim.bloch_mcconnell.instructions import schedule
from pulsetwin.sim.bloch_mcconnell.kernel import play_lanes
from pulsetwin.sim.bloch_mcconnell.lineshapes import absorption
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import Program

OBSERVED = ("z", "transverse")
_PART = 1024
"""Entries of a piece of work."""


def play_entries(
    program: Program, model: PoolModel, names: Sequence[str], table: Array, *, observe: str = "z",
    shares: Array | None = None, threads: int = 1,
) -> Array:  # fmt: skip
    """Return the signals for a table of parameters.

    Parameters
    ----------
    program
        From `compile_seq`.
    model
        Pools and field, and the values of the parameters that are not in the table.
    names
        Of the columns, as `play.simulate` names them.
    table
        Values, ``[entry, parameter]``.
    observe
        ``z``, or ``transverse`` for ``x + i y``.
    shares
        Of the initial magnetisation, with which it begins anew after each record where the program does so,
        ``[entry, record]``; 1 if None.
    threads
        Number of them.

    Returns
    -------
    ndarray
        ``[entry, record]``, float64 or complex128.

    Raises
    ------
    ProtocolError
        If a parameter or what is observed is unknown, a value is not finite, or a relaxation time not above 0.
    ShapeError
        If the table has not a column for each name, or there is not a share for each record.
    """
    return _in_parts(program, model, names, table, (), observe, shares, threads)[..., 0]


def differentiate_entries(
    program: Program, model: PoolModel, names: Sequence[str], table: Array, wanted: Sequence[str], *,
    observe: str = "z", shares: Array | None = None, threads: int = 1,
) -> tuple[Array, Array]:  # fmt: skip
    """Return the signals for a table of parameters, and their exact derivatives with respect to those `wanted`.

    Each derivative takes about twice as long as the signals. Parameters and errors are those of `play_entries`.

    Returns
    -------
    tuple of ndarray
        ``[entry, record]`` and ``[entry, record, wanted]``, float64 or complex128.
    """
    both = _in_parts(program, model, names, table, wanted, observe, shares, threads)
    return both[..., 0], both[..., 1:]


def _in_parts(
    program: Program, model: PoolModel, names: Sequence[str], table: Array, wanted: Sequence[str], observe: str,
    shares: Array | None, threads: int,
) -> Array:  # fmt: skip
    """Return signals and derivatives, ``[entry, record, 1 + wanted]``."""
    own = dict(model.parameters())
    number = {name: at for at, name in enumerate(own)}
    table = _checked(own, names, table, wanted, observe)
    begins = np.ones((len(table), program.records)) if shares is None else np.asarray(shares, np.float64)
    if begins.shape != (len(table), program.records):
        raise ShapeError(
            f"shares {begins.shape}: give one for each of {len(table)} entries and {program.records} records"
        )
    kinds, kind = np.unique(program.frequency, return_inverse=True)
    steps = np.stack((program.frequency, program.amplitude, program.duration, program.turn, kind), 1)
    plan = schedule(program)
    columns, derivatives = ([number[name] for name in chosen] for chosen in (names, wanted))

    def part(first: int) -> Array:
        some = slice(first, first + _PART)
        given = table[some]
        values = np.tile(np.array(list(own.values())), (len(given), 1))
        values[:, columns] = given
        return _play(plan, steps, kinds, program, model, values, np.array(derivatives, np.int64), begins[some], observe)

    with ThreadPoolExecutor(threads) as pool:
        pieces = list(pool.map(part, range(0, len(table), _PART)))
    return np.concatenate(pieces) if pieces else np.zeros((0, program.records, 1 + len(wanted)))


def _checked(
    own: dict[str, float], names: Sequence[str], table: Array, wanted: Sequence[str], observe: str
) -> Array:  # fmt: skip
    """Return the table as float64."""
    if observe not in OBSERVED:
        raise ProtocolError(f"observe = {observe!r}: give one of {', '.join(OBSERVED)}")
    unknown = {*names, *wanted} - set(own)
    if unknown:
        raise ProtocolError(f"parameter {min(unknown)!r} is unknown: the model has {', '.join(own)}")
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ShapeError(f"a table {table.shape} has not a column for each of {len(names)} names")
    for name, column in zip(names, table.T, strict=True):
        check_values(name, column)
    return table


def check_values(name: str, values: Array) -> None:
    """Raise a `ProtocolError` unless the values of a parameter, ``[entry]``, are finite, and times above 0."""
    positive = name.endswith(("t1", "t2"))
    bad = np.nonzero(~np.isfinite(values) | (values <= 0 if positive else False))[0]
    if len(bad):
        needed = "a time above 0 s" if positive else "a finite number"
        raise ProtocolError(f"{name} of entry {bad[0]} is {values[bad[0]]:g}: give {needed}, or leave the entry out")


def _play(
    plan: tuple[Array, Array, int], steps: Array, kinds: Array, program: Program, model: PoolModel, values: Array,
    wanted: Array, shares: Array, observe: str,
) -> Array:  # fmt: skip
    """Return signals and derivatives of entries with `values` of all parameters, ``[entry, parameter]``."""
    count = len(values)
    groups = -(-count // LANES)
    padded, begins = (
        np.concatenate((part, np.repeat(part[-1:], groups * LANES - count, 0))) for part in (values, shares)
    )
    ppm = 1e-6 * model.gamma * model.b0 * (1 if program.mode == "physical" else -1)
    absorbed = _absorbed(model, padded, kinds, ppm, program.mode)
    out = np.zeros((groups, program.records, 3, 1 + len(wanted), LANES))
    code, turns, slots = plan
    play_lanes(
        code, turns, steps, program.chain, program.dephasing, slots, 1 + len(model.free), len(model.semisolid), ppm,
        model.scale, _lanes(padded), _lanes(absorbed), wanted, _lanes(begins), out,
    )  # fmt: skip
    x, y, z = out.transpose(2, 0, 4, 1, 3).reshape(3, groups * LANES, program.records, -1)[:, :count]
    return z if observe == "z" else (x + 1j * y) * np.exp(1j * program.record_turn)[:, None]


def _lanes(values: Array) -> Array:
    """Return ``[entry, ...]`` as ``[group, ..., LANES]``."""
    return np.ascontiguousarray(np.moveaxis(values.reshape(len(values) // LANES, LANES, *values.shape[1:]), 1, -1))


def _absorbed(model: PoolModel, values: Array, kinds: Array, ppm: float, mode: str) -> Array:
    """Return lineshapes of semisolids, and derivatives by detuning and T2, ``[entry, semisolid, frequency, 3]``."""
    result = np.zeros((len(values), len(model.semisolid), len(kinds), 3))
    names = [name for name, _ in model.parameters()]
    for number, pool in enumerate(model.semisolid):
        shift, t2 = (values[:, names.index(f"{pool.name}.{name}"), None] for name in ("shift", "t2"))
        detuning = 2 * math.pi * kinds - ppm * values[:, 2, None] - abs(ppm) * shift
        inputs = [
            torch.from_numpy(part).requires_grad_() for part in (detuning, np.broadcast_to(t2, detuning.shape).copy())
        ]
        shape = absorption(pool.lineshape, *inputs, abs(ppm), mode)
        slopes = torch.autograd.grad(shape.sum(), inputs)
        result[:, number] = torch.stack((shape.detach(), *slopes), -1).numpy()
    return result
