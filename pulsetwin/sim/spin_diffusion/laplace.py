"""Build-up of layers of constant material, exact to a dozen digits: solved in Laplace's domain, with derivatives.

Each layer tells what flows in through its edges from the polarisations there (`elements`); that this comes out of its
neighbours is a small linear system for these polarisations. What flows into a layer gives its mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.spin_diffusion.laplace_layer import Ends, LaplaceLayer
from pulsetwin.sim.spin_diffusion.layers import Layers
from pulsetwin.sim.spin_diffusion.talbot import inverse, nodes

PROPERTIES = ("edges", "concentration", "diffusion", "t1", "polarisation")
"""By what `build_up_slopes` differentiates."""


def build_up(layers: Layers, times: np.ndarray) -> np.ndarray:
    """Return the mean polarisation of each layer, ``[..., layer, time]``, in units of P0.

    Parameters
    ----------
    layers
        The particle, or many of one shape, ``[..., layer]``.
    times
        Since saturation [s], not negative, ``[time]``.

    Raises
    ------
    ProtocolError
        If a time is negative.
    """
    late = _after_saturation(times)
    parts, ends, _ = _solve(layers, nodes(times[late]))
    result = np.zeros((*np.shape(layers.edges), len(times)))
    for number, (part, at) in enumerate(zip(parts, ends, strict=True)):
        result[..., number, late] = inverse(part.mean(part.flow(at)), times[late])
    return result


def build_up_slopes(
    layers: Layers, times: np.ndarray, properties: Sequence[str] = PROPERTIES
) -> tuple[np.ndarray, np.ndarray]:
    """Return `build_up` and its exact derivatives, ``[..., property, of layer, layer, time]``.

    Parameters
    ----------
    layers, times
        As for `build_up`.
    properties
        Of `Layers`, by which to differentiate; a radius is the outer edge of its layer and the inner one of the next.
    """
    late = _after_saturation(times)
    parts, ends, response = _solve(layers, nodes(times[late]))
    count, late_times = len(parts), times[late]
    values = np.zeros((*np.shape(layers.edges), len(times)))
    slopes = np.zeros((*np.shape(layers.edges)[:-1], len(properties), count, count, len(times)))
    # by what a flow in through edge j changes the mean of layer l, [l][j]
    answers = [[_answer(part, number, response, edge) for edge in range(count)] for number, part in enumerate(parts)]
    for number, (part, at) in enumerate(zip(parts, ends, strict=True)):
        values[..., number, late] = inverse(part.mean(part.flow(at)), late_times)
        for name, (inner, outer, own) in part.changes(at, properties).items():
            of = number - (name == "inner")
            row = properties.index("edges" if name in ("inner", "outer") else name)
            for other in range(count) if of >= 0 else ():
                change = answers[other][number] * outer + (own if other == number else 0)
                change = change + (answers[other][number - 1] * inner if number else 0)
                slopes[..., row, of, other, late] += inverse(change, late_times)
    return values, slopes


def _after_saturation(times: np.ndarray) -> np.ndarray:
    """Return which times are later than 0."""
    if not (np.isfinite(times).all() and (times >= 0).all()):
        raise ProtocolError(f"times = {times} s: give finite times since saturation")
    return times > 0


def _solve(layers: Layers, s: np.ndarray) -> tuple[list[LaplaceLayer], list[Ends], list[list[np.ndarray]]]:
    """Return all layers, the polarisations at their edges, and the inverse of the system for these, ``[edge][edge]``.

    What flows from each edge into the layers on its sides sums to zero; nothing flows through the last one.
    """
    columns = [np.asarray(getattr(layers, name))[..., None, None] for name in PROPERTIES]
    outer, *materials = [[one[..., number, :, :] for number in range(one.shape[-3])] for one in columns]
    inner = [np.zeros_like(outer[0]), *outer[:-1]]
    parts = [LaplaceLayer.of(layers.power, s, *one) for one in zip(inner, outer, *materials, strict=True)]
    pairs = list(zip(parts, [*parts[1:], None], strict=True))
    diagonal = [one.conductance * one.m[2] + (two.conductance * two.m[0] if two else 0) for one, two in pairs]
    beside = [two.conductance * two.m[1] for _, two in pairs if two]
    response = _inverse(diagonal, beside)
    source = [one.flow_sums[1] * one.alone + (two.flow_sums[0] * two.alone if two else 0) for one, two in pairs]
    edges = [sum(row[j] * source[j] for j in range(len(parts))) for row in response]
    return parts, list(zip([np.zeros_like(edges[0]), *edges[:-1]], edges, strict=True)), response


def _inverse(diagonal: list[np.ndarray], beside: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Return the inverse of a symmetric tridiagonal matrix by the continued fractions from both of its ends."""
    count = len(diagonal)
    down, up = list(diagonal), list(diagonal)
    for j in range(1, count):
        down[j] = diagonal[j] - beside[j - 1] ** 2 / down[j - 1]
        up[-1 - j] = diagonal[-1 - j] - beside[-j] ** 2 / up[-j]
    result: list[list[np.ndarray]] = [[np.empty(0)] * count for _ in range(count)]
    for i in range(count):
        result[i][i] = 1 / (down[i] + up[i] - diagonal[i])
        for j in range(i + 1, count):
            result[i][j] = result[j][i] = -result[i][j - 1] * beside[j - 1] / up[j]
    return result


def _answer(part: LaplaceLayer, number: int, response: list[list[np.ndarray]], edge: int) -> np.ndarray:
    """Return by what a flow in through `edge` changes the mean of layer `number`, by the polarisations it causes."""
    inner, outer = part.flow_sums
    through = outer * response[number][edge]
    if number:
        through = through + inner * response[number - 1][edge]
    return -through / part.loss
