"""Play a program by tensor operations, on any device and to any order of derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pulsetwin.sim.bloch_mcconnell.entries import check_values
from pulsetwin.sim.bloch_mcconnell.generators import Values, generators
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import DEPHASE, RECORD, RESET, Program

_ELEMENTS = 2**25  # of propagators at a time


def propagate(program: Program, model: PoolModel, values: Values, observe: str) -> Tensor:
    """Return what is observed at each record, ``[entry, record]``.

    Parameters
    ----------
    program, model
        As of `play.play`.
    values
        All parameters, float64 ``[entry]``.
    observe
        ``z`` or ``transverse``.

    Raises
    ------
    ProtocolError
        If a value is not finite, or a relaxation time not above 0.
    """
    for name, value in values.items():
        check_values(name, value.detach().cpu().numpy())
    count = len(program.duration) + len(program.chain) + len(program.product)
    part = max(_ELEMENTS // (count * (model.size + 1) ** 2), 1)
    starts = range(0, len(values["t1"]), part)
    pieces = [{name: value[at : at + part] for name, value in values.items()} for at in starts]
    return torch.cat([_play(piece, program, model, observe) for piece in pieces])


def _play(values: Values, program: Program, model: PoolModel, observe: str) -> Tensor:
    maps = _maps(values, program, model)
    initial = _initial(values, model)
    now, seen = initial.expand(-1, -1, program.dephasing.shape[1]), []
    pools = 1 + len(model.free)
    for number, turn in zip(program.path.tolist(), program.path_turn.tolist(), strict=True):
        if number == RECORD:
            seen.append(now[:, [0, pools, 2 * pools]].mean(-1))
        elif number == RESET:
            now = initial.expand_as(now)
        elif number <= DEPHASE:
            now = _turned(now, torch.as_tensor(program.dephasing[DEPHASE - number], device=now.device), pools)
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


def _turned(state: Tensor, turn: float | Tensor, pools: int) -> Tensor:
    """Return magnetisation or a map, ``[entry, size + 1, column]``, turned about z by ``exp(i turn)``."""
    if isinstance(turn, float) and turn == 0:
        return state
    angle = torch.as_tensor(turn, dtype=state.dtype, device=state.device)
    c, s = angle.cos(), angle.sin()
    x, y = state[:, :pools], state[:, pools : 2 * pools]
    return torch.cat((c * x - s * y, s * x + c * y, state[:, 2 * pools :]), 1)
