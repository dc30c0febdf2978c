"""Spin diffusion: Laplace's domain against 24 digits, finite volumes against that, gradients against differences."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.spin_diffusion.finite_volumes import grouped, profile
from pulsetwin.sim.spin_diffusion.laplace import PROPERTIES, build_up, build_up_slopes
from pulsetwin.sim.spin_diffusion.layers import Layers, refined
from pulsetwin.sim.spin_diffusion.relaxation import relax

NM = 1e-9


def particle(shape: str = "sphere", radius: float = 25 * NM, concentration=(80.8, 18.9)) -> Layers:
    """The solid and the frozen solution of the poster: D 1e-3 um^2/s, R' 1.8 R."""
    numbers = (concentration, (1e-15, 0.8e-15), (1000.0, 0.5), (1.0, 100.0))
    return Layers(shape, radius * np.array([1.0, 1.8]), *(np.array(one) for one in numbers))


def reference(layers: Layers, time: float) -> list[float]:
    """Both means by mpmath: the closed form of two layers, and its own inversion with 24 digits."""
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 24
    (r, far), (cs, cl), (ds, dl), (ts, tl), (ps, pl) = (
        [mp.mpf(float(x)) for x in getattr(layers, name)] for name in PROPERTIES
    )

    def log_slopes(ks, kl):
        """``u'/u`` at R of what is regular at the centre, and of what has no slope at R'."""
        x, y, z = ks * r, kl * r, kl * far
        if layers.shape == "slab":
            return ks * mp.tanh(x), -kl * mp.tanh(z - y)
        if layers.shape == "sphere":
            th = mp.tanh(z - y)
            return (x * mp.coth(x) - 1) / r, kl * (1 - z * th) / (z - th) - 1 / r
        a, b = mp.besselk(1, z), mp.besseli(1, z)
        tube = kl * (a * mp.besseli(1, y) - b * mp.besselk(1, y)) / (a * mp.besseli(0, y) + b * mp.besselk(0, y))
        return ks * mp.besseli(1, x) / mp.besseli(0, x), tube

    def transform(which, s):
        slope_s, slope_l = log_slopes(mp.sqrt((s + 1 / ts) / ds), mp.sqrt((s + 1 / tl) / dl))
        alone_s, alone_l = ps / (s * (1 + s * ts)), pl / (s * (1 + s * tl))
        give_s, give_l = cs * ds * slope_s, cl * dl * slope_l
        n = layers.power + 1
        flow = n * r ** (n - 1) * give_s * (alone_l - alone_s) * give_l / (give_l - give_s)
        if which == 0:
            return alone_s + flow / (cs * r**n * (s + 1 / ts))
        return alone_l - flow / (cl * (far**n - r**n) * (s + 1 / tl))

    settings = {"method": "talbot", "degree": 22}
    return [float(mp.invertlaplace(partial(transform, which), time, **settings)) for which in (0, 1)]


@pytest.mark.parametrize(
    ("shape", "radius"),
    [("sphere", 2), ("sphere", 25), ("sphere", 2500), ("slab", 25), ("slab", 2500), ("cylinder", 25)],
)
def test_laplace_has_ten_digits(shape, radius):
    layers, times = particle(shape, radius * NM), np.array([1e-2, 0.3, 20.0, 1000.0])
    times = times[1:2] if shape == "cylinder" else times  # Bessel functions of 24 digits take long
    found = build_up(layers, times)
    truth = np.array([reference(layers, time) for time in times]).T
    assert (np.abs(found - truth).max(1) < 1e-12 * np.abs(truth).max(1)).all()
    assert (np.abs(found - truth) < 1e-10 * np.abs(truth)).all()


def three_layers(shape: str) -> Layers:
    numbers = ((90.0, 60.0, 19.0), (1e-15, 0.5e-15, 0.8e-15), (1000.0, 30.0, 0.5), (1.0, 1.5, 100.0))
    return Layers(shape, NM * np.array([20.0, 26.0, 45.0]), *(np.array(one) for one in numbers))


@pytest.mark.parametrize("shape", ["sphere", "cylinder", "slab"])
def test_finite_volumes_meet_laplace(shape):
    times = np.geomspace(5e-3, 5, 20)
    for layers, cells in ((particle(shape), 200), (three_layers(shape), 200)):
        truth = build_up(layers, times)
        fine, parent = refined(layers, cells, times)
        error = np.abs(grouped(fine, parent, times).numpy() - truth).max(1) / truth.max(1)
        assert error.max() < 1e-5


@pytest.mark.parametrize("concentration", [(1.0, 1.0), (80.8, 18.9)])
def test_finite_volumes_meet_laplace_in_large_particles(concentration):
    """The frozen solution's T1 of 0.5 s makes a boundary of 22 nm beside 2500 nm."""
    times = np.geomspace(0.1, 5000, 20)
    layers = particle("sphere", 2500 * NM, concentration)
    errors = []
    for cells in (200, 400):
        fine, parent = refined(layers, cells, times)
        truth = build_up(layers, times)
        errors.append((np.abs(grouped(fine, parent, times).numpy() - truth).max(1) / truth.max(1)).max())
    assert errors[1] < 2e-5
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_layers_of_one_material_are_one_layer():
    one, times = particle(), np.geomspace(1e-2, 10, 9)
    edges = NM * np.array([10.0, 17.0, 25.0, 30.0, 45.0])
    split = Layers("sphere", edges, *(getattr(one, name)[[0, 0, 0, 1, 1]] for name in PROPERTIES if name != "edges"))
    volume = np.diff(np.concatenate(([0], edges)) ** 3)
    means = build_up(split, times)
    solid = volume[:3] @ means[:3] / volume[:3].sum()
    liquid = volume[3:] @ means[3:] / volume[3:].sum()
    assert np.allclose([solid, liquid], build_up(one, times), rtol=1e-11)


def test_no_exchange_and_no_barrier():
    """With D of nearly 0 each layer follows its own T1; with a huge D all polarisations are the mean of the balance."""
    times = np.geomspace(1e-2, 10, 9)
    alone = build_up(replace(particle(), diffusion=np.full(2, 1e-35)), times)
    assert np.allclose(alone, [[1.0], [100.0]] * -np.expm1(-times / [[1000.0], [0.5]]), rtol=1e-6, atol=1e-7)
    layers = particle()
    spins = layers.concentration * np.array([1, 1.8**3 - 1])
    rate = (spins / layers.t1).sum() / spins.sum()
    mean = (spins * layers.polarisation / layers.t1).sum() / spins.sum() * -np.expm1(-rate * times) / rate
    assert np.allclose(build_up(replace(layers, diffusion=np.full(2, 1e-9)), times), mean, rtol=2e-5)


def test_smooth_profile_meets_an_ode_solver():
    """D, C and T1 that vary with r, against scipy's stiff solver of a balance that is written out here."""
    edges = np.linspace(0, 40 * NM, 61)[1:]
    middle = edges - 0.5 * edges[0]
    x = middle / middle[-1]
    layers = Layers("slab", edges, 1 + x, 1e-15 * (1 + x**2), 0.5 + x, 100 * x)
    times, width = np.array([0.05, 0.4, 3.0]), edges[0]
    resistance = width / 2 / (layers.concentration * layers.diffusion)

    def balance(_, p):
        flow = np.zeros(len(p) + 1)
        flow[1:-1] = (p[1:] - p[:-1]) / (resistance[1:] + resistance[:-1])
        return np.diff(flow) / (width * layers.concentration) - (p - layers.polarisation) / layers.t1

    truth = solve_ivp(balance, (0, 3), np.zeros(60), "BDF", times, rtol=1e-9, atol=1e-9).y
    assert np.abs(profile(layers, times).numpy() - truth).max() < 1e-6 * truth.max()


@pytest.mark.parametrize("shape", ["sphere", "cylinder", "slab"])
def test_slopes_are_those_of_differences(shape):
    layers, times = three_layers(shape), np.array([0.0, 0.02, 0.3, 8.0])
    values, slopes = build_up_slopes(layers, times)
    assert np.array_equal(values, build_up(layers, times))
    for row, name in enumerate(PROPERTIES):
        for of in range(3):
            own = getattr(layers, name)
            near = []
            for factor in (1.001, 0.999, 1.002, 0.998):
                moved = own.copy()
                moved[of] *= factor
                near.append(build_up(replace(layers, **{name: moved}), times))
            difference = (8 * (near[0] - near[1]) - (near[2] - near[3])) / 12e-3
            assert np.abs(slopes[row, of] * own[of] - difference).max() < 1e-7 * values.max(), (name, of)


def test_many_particles_at_once():
    one, times = particle(), np.geomspace(1e-2, 10, 5)
    radii = np.array([5.0, 25.0, 120.0])[:, None] * NM
    many = Layers("sphere", radii * [1, 1.8], *(np.tile(getattr(one, name), (3, 1)) for name in PROPERTIES[1:]))
    values, slopes = build_up_slopes(many, times, ("edges",))
    for row, radius in enumerate(radii[:, 0]):
        alone = build_up_slopes(particle(radius=radius), times, ("edges",))
        assert np.allclose(values[row], alone[0], rtol=1e-12)
        assert np.allclose(slopes[row], alone[1], rtol=1e-9)


def test_gradients_of_finite_volumes():
    """By every property of every cell, the edges too, against torch's numerical differences."""
    times = np.array([1e-6, 0.1, 2.0])
    coarse, parent = refined(three_layers("sphere"), 3, times[1:])
    unit = {"edges": NM, "diffusion": 1e-15}
    tensors = [torch.tensor(getattr(coarse, name) / unit.get(name, 1), requires_grad=True) for name in PROPERTIES]

    def means(*values):
        scaled = [one * unit.get(name, 1) for one, name in zip(values, PROPERTIES, strict=True)]
        return grouped(Layers("sphere", *scaled), parent, times)

    assert torch.autograd.gradcheck(means, tensors, eps=1e-5, atol=1e-6, rtol=1e-5)


def test_gradients_of_equal_rates():
    """Uncoupled cells share their rates: divided differences become derivatives."""
    diagonal = torch.full((4,), 0.7, dtype=torch.float64, requires_grad=True)
    beside = torch.full((3,), 1e-13, dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    y = relax(diagonal, beside, ones, ones[None], torch.tensor([2.0], dtype=torch.float64))
    (slope,) = torch.autograd.grad(y.sum(), diagonal)
    x = 1.4
    assert torch.allclose(slope, torch.full_like(slope, (np.exp(-x) * (1 + x) - 1) / 0.49))


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"shape": "ball"}, ProtocolError, "slab, cylinder, sphere"),
        ({"edges": np.array([2.0, 1.0])}, ProtocolError, "grow outwards"),
        ({"t1": np.array([1.0, -1.0])}, ProtocolError, "t1 = "),
        ({"diffusion": np.array([np.nan, 1.0])}, ProtocolError, "diffusion = "),
        ({"concentration": np.ones(3)}, ShapeError, "one for each layer"),
    ],
)
def test_impossible_particles(change, error, told):
    values = {"shape": "sphere"} | {name: getattr(particle(), name) for name in PROPERTIES}
    with pytest.raises(error, match=told):
        Layers(**(values | change))


def test_times_before_saturation():
    with pytest.raises(ProtocolError, match="since saturation"):
        build_up(particle(), np.array([-1.0, 1.0]))
