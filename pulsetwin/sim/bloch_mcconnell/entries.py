"""Signals of many entries, such as the atoms of a dictionary, by the compiled kernel."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.events import Array
from pulsetwin.sim.bloch_mcconnell.instructions import schedule
from pulsetwin.sim.bloch_mcconnell.kernel import play_lanes
from pulsetwin.sim.bloch_mcconnell.lanes import LANES
from pulsetwin.sim.bloch_mcconnell.lineshapes import absorption
from pulsetwin.sim.bloch_mcconnell.play import OBSERVED
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import Program

_PART = 1024
"""Entries of a piece of work."""


def play_entries(
    program: Program, model: PoolModel, names: Sequence[str], table: Array, *, observe: str = "z", threads: int = 1
) -> Array:
    """Return what `play.play` does, for a table of parameters, without gradients but many times as fast.

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
    threads
        Number of them.

    Returns
    -------
    ndarray
        ``[entry, record]``, float64 or complex128.

    Raises
    ------
    ProtocolError
        If a parameter or what is observed is unknown.
    ShapeError
        If the table has not a column for each name.
    """
    if observe not in OBSERVED:
        raise ProtocolError(f"observe = {observe!r}: give one of {', '.join(OBSERVED)}")
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ShapeError(f"a table {table.shape} has not a column for each of {len(names)} names")
    own = dict(model.parameters())
    column = {name: at for at, name in enumerate(own)}
    unknown = set(names) - set(own)
    if unknown:
        raise ProtocolError(f"parameter {min(unknown)!r} is unknown: the model has {', '.join(own)}")
    plan = schedule(program)
    kinds, kind = np.unique(program.frequency, return_inverse=True)
    steps = np.stack((program.frequency, program.amplitude, program.duration, program.turn, kind), 1)

    def part(first: int) -> Array:
        given = table[first : first + _PART]
        values = np.tile(np.array(list(own.values())), (len(given), 1))
        values[:, [column[name] for name in names]] = given
        return _play(plan, steps, kinds, program, model, values, observe)

    with ThreadPoolExecutor(threads) as pool:
        pieces = list(pool.map(part, range(0, len(table), _PART)))
    return np.concatenate(pieces) if pieces else np.zeros((0, program.records))


def _play(
    plan: tuple[Array, Array, int], steps: Array, kinds: Array, program: Program, model: PoolModel, values: Array,
    observe: str,
) -> Array:  # fmt: skip
    """Return the signals of entries with `values` of all parameters, ``[entry, parameter]``."""
    count = len(values)
    groups = -(-count // LANES)
    padded = np.concatenate((values, np.repeat(values[-1:], groups * LANES - count, 0)))
    lanes = np.ascontiguousarray(padded.reshape(groups, LANES, -1).transpose(0, 2, 1))
    ppm = 1e-6 * model.gamma * model.b0
    sign = 1 if program.mode == "physical" else -1
    absorbed = _absorbed(model, padded, kinds, sign * ppm, program.mode)
    absorbed = np.ascontiguousarray(absorbed.reshape(groups, LANES, *absorbed.shape[1:]).transpose(0, 2, 3, 1))
    out = np.zeros((groups, program.records, 3, LANES))
    code, turns, slots = plan
    pools = 1 + len(model.free)
    play_lanes(
        code, turns, steps, program.chain, slots, pools, len(model.semisolid), sign * ppm, model.scale, lanes, absorbed,
        out,
    )  # fmt: skip
    x, y, z = out.transpose(2, 0, 3, 1).reshape(3, groups * LANES, -1)[:, :count]
    return z if observe == "z" else (x + 1j * y) * np.exp(1j * program.record_turn)


def _absorbed(model: PoolModel, values: Array, kinds: Array, ppm: float, mode: str) -> Array:
    """Return the lineshapes [s] of semisolids at all frequencies, ``[entry, semisolid, frequency]``."""
    result = np.zeros((len(values), len(model.semisolid), len(kinds)))
    names = [name for name, _ in model.parameters()]
    for number, pool in enumerate(model.semisolid):
        shift, t2 = (torch.from_numpy(values[:, names.index(f"{pool.name}.{name}"), None]) for name in ("shift", "t2"))
        away = 2 * np.pi * torch.from_numpy(kinds) - ppm * torch.from_numpy(values[:, 2, None]) - abs(ppm) * shift
        result[:, number] = absorption(pool.lineshape, away, t2, abs(ppm), mode).numpy()
    return result
