"""The radius by a physics-informed network, after the poster of Brossa et al. (2024): a second method, for comparison.

The network is G, the mean polarisation within r, whose equation is a diffusion in five dimensions,

    G_t = D (G_rr + 4 G_r / r) - (G - P0) / T1,    P = G + (r / 3) G_r,

so that the curve of the solid is G at R. In x^2 = (r / R)^2 it is smooth at the centre. With the boundary ``uniform``
the curve of the liquid is P at R. With ``diffusion`` a second network is P in the liquid, with the same P and flux at
R, no slope at R', and the measured mean. The weights and ln R descend together. `fit_radius` is exact and takes a
hundredth of the time or less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.spin_diffusion.curves import Curves, check_rise
from pulsetwin.recon.spin_diffusion.field_network import FieldNetwork
from pulsetwin.recon.spin_diffusion.particle import Particle

_PLACES, _INSTANTS = 12, 60  # where and when the equations are asked for
_RATE, _RADIUS_RATE = 3e-3, 1e-2


@dataclass(frozen=True, slots=True)
class NetworkFit:
    """What a network found.

    Parameters
    ----------
    radius
        [m].
    loss
        Mean squares of equations and curves, relative to the largest polarisation.
    radii
        After each hundred steps [m].
    """

    radius: float
    loss: float
    radii: tuple[float, ...]


def fit_network(
    curves: Curves, particle: Particle, *, steps: int = 3000, polish: int = 500, hidden: int = 32, seed: int = 0,
    progress: Progress = silent,
) -> NetworkFit:  # fmt: skip
    """Find the radius of a sphere by a physics-informed network.

    Parameters
    ----------
    curves, particle
        As for `fit_radius`; the descent begins in the middle of where the radius is looked for.
    steps, polish
        Of Adam, and iterations of L-BFGS after them.
    hidden
        Units of each of two layers.
    seed
        Of the weights.
    progress
        Called with steps done, steps in total and what is done.

    Raises
    ------
    ProtocolError
        If the particle is no sphere, or more than the radius is free.
    """
    if particle.shape != "sphere" or particle.free != ("radius",):
        raise ProtocolError("the network finds the radius of spheres, nothing else: use fit_radius")
    check_rise(curves, np.sign(particle.liquid.polarisation) or 1.0)
    generator = torch.Generator().manual_seed(seed)
    scale, time_scale = float(np.abs(curves.liquid).max()), float(np.median(curves.times))
    networks = torch.nn.ModuleList(FieldNetwork(scale, time_scale, hidden, generator) for _ in range(2))
    log_radius = torch.tensor(0.5 * np.log(np.prod(particle.searched)), requires_grad=True)
    loss = (_uniform if particle.boundary == "uniform" else _diffusing)(curves, particle, networks, scale, time_scale)
    weights, radii = list(networks.parameters()), []
    adam = torch.optim.Adam([{"params": weights, "lr": _RATE}, {"params": [log_radius], "lr": _RADIUS_RATE}])
    for step in range(steps):
        adam.zero_grad()
        loss(log_radius.exp()).backward()
        adam.step()
        if step % 100 == 99:
            radii.append(float(log_radius.detach().exp()))
            progress(step + 1, steps, "training the network")
    newton = torch.optim.LBFGS([*weights, log_radius], max_iter=polish, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        newton.zero_grad()
        value = loss(log_radius.exp())
        value.backward()
        return value

    newton.step(closure)
    radius = float(log_radius.detach().exp())
    return NetworkFit(radius, float(loss(log_radius.exp()).detach()), (*radii, radius))


Loss = Callable[[Tensor], Tensor]


def _uniform(
    curves: Curves, particle: Particle, networks: torch.nn.ModuleList, scale: float, time_scale: float
) -> Loss:
    """Return the poster's loss: the equation within the solid, and both curves at its surface."""
    times, (solid, liquid) = _times(curves, time_scale), _curves(curves)
    surface, places = torch.ones(1, dtype=torch.float64), torch.linspace(0, 1, _PLACES, dtype=torch.float64)

    def loss(radius: Tensor) -> Tensor:
        equation = _within(networks[0], particle, radius, places, times)
        at = networks[0](surface, torch.from_numpy(curves.times))
        edge = at.value + 2 / 3 * at.by_place
        return sum((one / scale).square().mean() for one in (equation, at.value - solid, edge - liquid))

    return loss


def _diffusing(
    curves: Curves, particle: Particle, networks: torch.nn.ModuleList, scale: float, time_scale: float
) -> Loss:
    """Return the loss with diffusion in the liquid; its network's place is e (2 - e) of ``e = (r - R) / (R' - R)``."""
    times, (solid, liquid) = _times(curves, time_scale), _curves(curves)
    surface, places = torch.ones(1, dtype=torch.float64), torch.linspace(0, 1, _PLACES, dtype=torch.float64)
    nodes, weights = (torch.from_numpy(one) for one in np.polynomial.legendre.leggauss(_PLACES))
    nodes, weights, inner = 0.5 * (nodes + 1), 0.5 * weights, networks[0]
    known, other = particle.solid, particle.liquid
    conducts = (other.diffusion * other.concentration) / (known.diffusion * known.concentration)

    def loss(radius: Tensor) -> Tensor:
        outer = radius * particle.outer_ratio if particle.outer_ratio else torch.tensor(particle.outer_radius)
        width = (outer - radius).clamp(min=1e-3 * outer.detach())
        equation = _within(inner, particle, radius, places, times)
        beyond = _beyond(networks[1], particle, radius, width, nodes, times)
        at, first = inner(surface, times), networks[1](0 * surface, times)
        jump = at.value + 2 / 3 * at.by_place - first.value
        out = radius / 3 * (at.by_time + (at.value - known.polarisation) / known.t1) / known.diffusion
        kink = width * out - 2 * first.by_place * conducts
        measured = torch.from_numpy(curves.times)
        share = weights * (radius + nodes * width) ** 2
        mean = (share / share.sum()) @ networks[1](nodes * (2 - nodes), measured).value
        left = (equation, beyond, jump, kink, inner(surface, measured).value - solid, mean - liquid)
        return sum((one / scale).square().mean() for one in left)

    return loss


def _within(network: FieldNetwork, particle: Particle, radius: Tensor, places: Tensor, times: Tensor) -> Tensor:
    """Return what is left of the equation of G in the solid, as it grows in the logarithm of time."""
    field, known = network(places, times), particle.solid
    spread = known.diffusion / radius**2 * (10 * field.by_place + 4 * places[:, None] * field.by_place2)
    left = field.by_time - spread + (field.value - known.polarisation) / known.t1
    return left * times * network.time_scale / (times + network.time_scale)


def _beyond(
    network: FieldNetwork, particle: Particle, radius: Tensor, width: Tensor, depth: Tensor, times: Tensor
) -> Tensor:
    """Return what is left of the equation of P in the liquid at relative depths ``[place]``."""
    field, known = network(depth * (2 - depth), times), particle.liquid
    turn = 2 * (1 - depth[:, None])
    first, second = turn * field.by_place, turn**2 * field.by_place2 - 2 * field.by_place
    spread = known.diffusion / width**2 * (second + 2 * width / (radius + depth[:, None] * width) * first)
    left = field.by_time - spread + (field.value - known.polarisation) / known.t1
    return left * times * network.time_scale / (times + network.time_scale)


def _times(curves: Curves, time_scale: float) -> Tensor:
    """Return when the equations are asked for [s]: evenly in the logarithm that the networks see."""
    late = np.linspace(0, np.log1p(curves.times[-1] / time_scale), _INSTANTS)
    return torch.from_numpy(time_scale * np.expm1(late))


def _curves(curves: Curves) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(curves.solid), torch.from_numpy(curves.liquid)
