"""Simulate a sequence with exchange, differentiably: unique propagators once, then the path through them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.generators import Values, generators
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import RECORD, RESET, Program

OBSERVED = ("z", "transverse")
_ELEMENTS = 2**25  # of propagators at a time


def simulate(
    seq: SeqFile,
    model: PoolModel,
    parameters: Mapping[str, Tensor] | None = None,
    *,
    mode: str = "physical",
    observe: str = "z",
    reset: bool | None = None,
    spoiled: bool = False,
) -> Tensor:
    """Return the magnetisation of water at each block with samples.

    Parameters
    ----------
    seq
        The sequence.
    model
        Pools and field.
    parameters
        Values in place of the model's: ``t1``, ``t2`` [s], ``b0_shift`` [ppm], ``b1``, and ``<pool>.fraction``,
        ``.exchange_rate`` [1/s], ``.shift`` [ppm], ``.t1``, ``.t2`` [s]. They are broadcast to ``[...]``; the result is
        differentiable in each.
    mode, reset, spoiled
        As of `compile_seq`.
    observe
        ``z`` for the signed longitudinal magnetisation, ``transverse`` for ``x + i y`` in the frame of the carrier.

    Returns
    -------
    Tensor
        ``[..., record]`` relative to water in equilibrium, float64 or complex128.

    Raises
    ------
    ProtocolError
        If a parameter, the mode or what is observed is unknown, or nothing is measured.
    MismatchError
        If the model's field is not that of the sequence.
    ShapeError
        If the parameters cannot be broadcast together.
    """
    return play(compile_seq(seq, model, mode=mode, reset=reset, spoiled=spoiled), model, parameters, observe=observe)


def play(
    program: Program, model: PoolModel, parameters: Mapping[str, Tensor] | None = None, *, observe: str = "z"
) -> Tensor:
    """Return what `simulate` does, of a program."""
    if observe not in OBSERVED:
        raise ProtocolError(f"observe = {observe!r}: give one of {', '.join(OBSERVED)}")
    values, shape = _values(model, parameters or {})
    count = len(program.duration) + len(program.chain) + len(program.product)
    part = max(_ELEMENTS // (count * (model.size + 1) ** 2), 1)
    pieces = [
        _play({name: value[at : at + part] for name, value in values.items()}, program, model, observe)
        for at in range(0, len(values["t1"]), part)
    ]
    return torch.cat(pieces).unflatten(0, shape) if shape else pieces[0][0]


def _values(model: PoolModel, given: Mapping[str, Tensor]) -> tuple[Values, torch.Size]:
    """Return all parameters, float64 ``[entry]``, and the shape of the entries."""
    own = dict(model.parameters())
    unknown = set(given) - set(own)
    if unknown:
        raise ProtocolError(f"parameter {min(unknown)!r} is unknown: the model has {', '.join(own)}")
    tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in given.items()}
    try:
        shape = torch.broadcast_shapes(*(value.shape for value in tensors.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise ShapeError(f"parameters cannot be broadcast together: {shapes}") from None
    device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
    for name, value in own.items():
        tensors.setdefault(name, torch.tensor(value, dtype=torch.float64, device=device))
    return {name: value.expand(shape).reshape(-1) for name, value in tensors.items()}, shape


def _play(values: Values, program: Program, model: PoolModel, observe: str) -> Tensor:
    maps = _maps(values, program, model)
    initial = _initial(values, model)
    now, seen = initial, []
    pools = 1 + len(model.free)
    for number, turn in zip(program.path.tolist(), program.path_turn.tolist(), strict=True):
        if number == RECORD:
            seen.append(now[:, [0, pools, 2 * pools], 0])
        elif number == RESET:
            now = initial
        else:
            now = maps[number] @ _turned(now, turn, pools)
    x, y, z = torch.stack(seen, -1).unbind(1)
    if observe == "z":
        return z
    turned = torch.as_tensor(np.exp(1j * program.record_turn), device=x.device)
    return torch.complex(x, y) * turned


def _initial(values: Values, model: PoolModel) -> Tensor:
    """Return the magnetisation that a measurement begins with, ``[entry, size + 1, 1]``."""
    one = torch.ones_like(values["t1"])
    free = [values[f"{pool.name}.fraction"] for pool in model.free]
    semisolid = [values[f"{pool.name}.fraction"] for pool in model.semisolid]
    transverse = [torch.zeros_like(one)] * (2 + 2 * len(free))
    return torch.stack([*transverse, *(model.scale * part for part in (one, *free, *semisolid)), one], -1)[..., None]


def _maps(values: Values, program: Program, model: PoolModel) -> list[Tensor]:
    """Return all maps of a program, each ``[entry, size + 1, size + 1]``."""
    like, pools = values["t1"], 1 + len(model.free)
    rows = np.stack((program.frequency, program.amplitude, program.duration), 1)
    unique, which = np.unique(rows, axis=0, return_inverse=True)
    frequency, amplitude, duration = torch.as_tensor(unique, device=like.device).T
    generator = generators(model, values, frequency, amplitude, program.mode)
    steps = torch.linalg.matrix_exp(generator * duration[:, None, None])
    keep = torch.ones(model.size + 1, dtype=like.dtype, device=like.device)
    keep[: 2 * pools] = 0
    maps = [torch.diag(keep).expand(len(like), -1, -1)]
    for first, end in zip(program.chain[:-1], program.chain[1:], strict=True):
        total = steps[:, which[first]]
        for k in range(first + 1, end):
            total = steps[:, which[k]] @ _turned(total, program.turn[k], pools)
        maps.append(total)
    for (first, second), turn in zip(program.product.tolist(), program.product_turn.tolist(), strict=True):
        maps.append(maps[second] @ _turned(maps[first], turn, pools))
    return maps


def _turned(state: Tensor, turn: float, pools: int) -> Tensor:
    """Return magnetisation or a map, ``[entry, size + 1, column]``, turned about z by ``exp(i turn)``."""
    if not turn:
        return state
    c, s = math.cos(turn), math.sin(turn)
    x, y = state[:, :pools], state[:, pools : 2 * pools]
    return torch.cat((c * x - s * y, s * x + c * y, state[:, 2 * pools :]), 1)
