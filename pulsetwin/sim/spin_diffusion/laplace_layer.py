"""One layer in Laplace's domain: its inward flows and its mean from what it is made of, with derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulsetwin.sim.spin_diffusion.elements import Flows, flows, slopes_by_edges, slopes_by_k

Ends = tuple[np.ndarray, np.ndarray]
"""Something at the inner and at the outer edge."""


@dataclass(frozen=True, slots=True)
class LaplaceLayer:
    """A layer at all s; numbers have the shape of the batch and two axes more, to go with s ``[time, node]``.

    Parameters
    ----------
    power
        With which surfaces grow.
    s
        Laplace's variable [1/s].
    a, b
        Edges [m].
    concentration, diffusion, t1, polarisation
        As in `Layers`.
    k, m
        ``sqrt((s + 1/T1) / D)`` [1/m], and the flows that `elements` tells.
    conductance
        Flow per gradient and surface, D C.
    alone
        The transform of P without neighbours.
    loss
        What a polarisation of 1 above that loses to relaxation and, by s, to its growth.
    flow_sums
        All that flows in through both edges, per polarisation at one of them, the other and the rest being 0.
    """

    power: int
    s: np.ndarray
    a: np.ndarray
    b: np.ndarray
    concentration: np.ndarray
    diffusion: np.ndarray
    t1: np.ndarray
    polarisation: np.ndarray
    k: np.ndarray
    m: Flows
    conductance: np.ndarray
    alone: np.ndarray
    loss: np.ndarray
    flow_sums: Ends

    @classmethod
    def of(cls, power: int, s: np.ndarray, a: np.ndarray, b: np.ndarray, *material: np.ndarray) -> LaplaceLayer:
        """Return a layer between a and b of concentration, D, T1 and P0."""
        concentration, diffusion, t1, polarisation = material
        decay, conductance = s + 1 / t1, diffusion * concentration
        k = np.sqrt(decay / diffusion)
        m = flows(power, k, a, b)
        loss = decay * (concentration * _volume(power, a, b))
        sums = conductance * (m[0] + m[1]), conductance * (m[1] + m[2])
        return cls(power, s, a, b, *material, k, m, conductance, polarisation / t1 / (s * decay), loss, sums)

    def flow(self, at: Ends) -> Ends:
        """Return the inward flows at the edges, whose polarisations are `at`."""
        return self._flow(self.m, at)

    def mean(self, flow: Ends) -> np.ndarray:
        """Return the mean polarisation given the inward flows."""
        return self.alone + (flow[0] + flow[1]) / self.loss

    def changes(self, at: Ends, properties: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return by what each property changes both flows and the mean, polarisations at the edges staying `at`.

        The properties are those of `Layers`; ``edges`` are told as ``inner`` and ``outer``.
        """
        flow, sums, (a, b, t1) = self.flow(at), self.flow_sums, (self.a, self.b, self.t1)
        place = (self.power, self.k, a, b, self.m)
        if "diffusion" in properties or "t1" in properties:
            by_k = self._flow(slopes_by_k(*place), at)
        changed: dict[str, tuple[Ends, np.ndarray, np.ndarray]] = {}  # of flows, mean without neighbours, ln of loss
        nothing = np.zeros_like(a)
        if "edges" in properties:
            volume = _volume(self.power, a, b)
            by_a, by_b = (self._flow(one, at) for one in slopes_by_edges(*place))
            changed["inner"] = by_a, nothing, -(a**self.power) / volume
            changed["outer"] = by_b, nothing, b**self.power / volume
        if "concentration" in properties:
            changed["concentration"] = _times(flow, 1 / self.concentration), nothing, 1 / self.concentration
        if "diffusion" in properties:
            own = _times(flow, 1 / self.diffusion)
            changed["diffusion"] = _plus(own, _times(by_k, -self.k / (2 * self.diffusion))), nothing, nothing
        if "t1" in properties:
            through_k = _times(by_k, -1 / (2 * self.k * self.diffusion * t1**2))
            alone = -self.polarisation / (1 + self.s * t1) ** 2
            changed["t1"] = _plus(through_k, _times(sums, -alone)), alone, -1 / (t1 * (1 + self.s * t1))
        if "polarisation" in properties:
            alone = 1 / (self.s * (1 + self.s * t1))
            changed["polarisation"] = _times(sums, -alone), alone, nothing
        total = flow[0] + flow[1]
        return {
            name: (inner, outer, alone + (inner + outer - total * loss) / self.loss)
            for name, ((inner, outer), alone, loss) in changed.items()
        }

    def _flow(self, m: Flows, at: Ends) -> Ends:
        m11, m12, m22 = m
        inner, outer = at[0] - self.alone, at[1] - self.alone
        return self.conductance * (m11 * inner + m12 * outer), self.conductance * (m12 * inner + m22 * outer)


def _times(flow: Ends, factor: np.ndarray) -> Ends:
    return flow[0] * factor, flow[1] * factor


def _plus(one: Ends, other: Ends) -> Ends:
    return one[0] + other[0], one[1] + other[1]


def _volume(power: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the integral of the surface over r."""
    return (b ** (power + 1) - a ** (power + 1)) / (power + 1)
