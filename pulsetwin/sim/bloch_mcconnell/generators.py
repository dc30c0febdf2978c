"""Bloch-McConnell generators: the matrices of ``dM/dt = A M + C``, by autograd in every tissue parameter.

The magnetisation is x of water and each free pool, y of them, z of them, then z of each semisolid; a last component
that is always 1 carries the recovery C.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pulsetwin.sim.bloch_mcconnell.lineshapes import absorption
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel

Values = dict[str, Tensor]
"""Each parameter of the model by its name, ``[entry]``."""


def generators(model: PoolModel, values: Values, frequency: Tensor, amplitude: Tensor, mode: str) -> Tensor:
    """Return generators in the frame of the pulse, whose field lies along x.

    Parameters
    ----------
    model
        Which pools there are.
    values
        Parameters, float64 ``[entry]``.
    frequency, amplitude
        Frame's offset and nutation frequency of each step [Hz], ``[step]``.
    mode
        ``physical``: a positive shift of the field shifts all resonances to higher frequency. ``pulseq_cest``: to
        lower ones, as its simulation does.

    Returns
    -------
    Tensor
        ``[entry, step, size + 1, size + 1]``, 1/s.
    """
    pools, size = 1 + len(model.free), model.size
    ppm = 1e-6 * model.gamma * model.b0
    shift = ppm * values["b0_shift"] * (1 if mode == "physical" else -1)
    detuning = [2 * math.pi * frequency - shift[:, None]]
    detuning += [detuning[0] - ppm * values[f"{pool.name}.shift"][:, None] for pool in model.free]
    nutation = 2 * math.pi * values["b1"][:, None] * amplitude
    terms, places = [], []
    for i, offset in enumerate(detuning):
        terms += [offset, nutation]
        places += [
            [(i, pools + i, 1), (pools + i, i, -1)], [(pools + i, 2 * pools + i, 1), (2 * pools + i, pools + i, -1)]
        ]  # fmt: skip
    for j, pool in enumerate(model.semisolid):
        away = detuning[0] - ppm * values[f"{pool.name}.shift"][:, None]
        rate = absorption(pool.lineshape, away, values[f"{pool.name}.t2"][:, None], ppm, mode)
        terms.append(nutation**2 * rate)
        places.append([(3 * pools + j, 3 * pools + j, -1)])
    played = torch.stack(terms, -1) @ _basis(places, size, nutation)
    return (played + _tissue(model, values)[:, None]).unflatten(-1, (size + 1, size + 1))


def _tissue(model: PoolModel, values: Values) -> Tensor:
    """Return relaxation and exchange, ``[entry, (size + 1)^2]``."""
    pools, size = 1 + len(model.free), model.size
    rates = [1 / values["t1"], 1 / values["t2"]]
    places = [
        [(2 * pools, 2 * pools, -1), (2 * pools, size, 1)], [(0, 0, -1), (pools, pools, -1)]
    ]  # fmt: skip
    for number, pool in enumerate(model.free + model.semisolid):
        back, fraction = values[f"{pool.name}.exchange_rate"], values[f"{pool.name}.fraction"]
        recovery = 1 / values[f"{pool.name}.t1"]
        if pool.lineshape is None:
            i = 1 + number
            pairs = [(axis * pools, axis * pools + i) for axis in range(3)]
            rates.append(1 / values[f"{pool.name}.t2"])
            places.append([(at, at, -1) for _, at in pairs[:2]])
        else:
            pairs = [(2 * pools, 2 * pools + pools + number - len(model.free))]
        longitudinal = pairs[-1][1]
        rates += [back, fraction * back, recovery, recovery * fraction]
        places += [
            [place for water, at in pairs for place in ((water, at, 1), (at, at, -1))],
            [place for water, at in pairs for place in ((at, water, 1), (water, water, -1))],
            [(longitudinal, longitudinal, -1)],
            [(longitudinal, size, 1)],
        ]
    return torch.stack(rates, -1) @ _basis(places, size, rates[0])


def _basis(places: list[list[tuple[int, int, int]]], size: int, like: Tensor) -> Tensor:
    """Return where each term stands in a generator, ``[term, (size + 1)^2]``."""
    basis = torch.zeros(len(places), size + 1, size + 1, dtype=like.dtype, device=like.device)
    for term, entries in enumerate(places):
        for row, column, sign in entries:
            basis[term, row, column] += sign
    return basis.flatten(1)
