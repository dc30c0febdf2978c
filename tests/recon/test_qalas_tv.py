"""QALAS maps with total variation: against a brute-force minimum, the fit, and the truth of a phantom."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from pulsetwin.recon.qalas import map_qalas, tv
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.recon.qalas.ssl import estimate, train
from pulsetwin.recon.qalas.training import Training
from pulsetwin.recon.qalas.tv import smooth_fit
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.volume import Images

TIMING = QalasTiming.preset("siemens", train_length=127)
NAMES = ("t1", "t2", "pd", "ie")
BOUNDS = (0.5, 1.0)


def made(truth: dict[str, np.ndarray]) -> np.ndarray:
    values = {name: torch.from_numpy(truth[name]) for name in (*NAMES, "b1")}
    return signals(TIMING, values["t1"], values["t2"], **{x: values[x] for x in ("pd", "ie", "b1")}).numpy()


def phantom(snr: float, shape: tuple[int, int, int] = (6, 40, 40)) -> dict[str, np.ndarray]:
    """Three tissues with folded borders, each with smooth changes, the efficiency following T1 and T2."""
    rng = np.random.default_rng(0)
    field = gaussian_filter(rng.standard_normal(shape), 3)
    field /= field.std()
    mask = np.ones(shape, bool)
    mask[:, :3, :5] = False
    tissue = np.digitize(field, (0, 1.5))
    vary = [1 + 0.03 * (lambda z: z / z.std())(gaussian_filter(rng.standard_normal(shape), 8)) for _ in range(3)]
    t1, t2, pd = (np.choose(tissue, values) * part for values, part in zip(
        ((0.85, 1.35, 3.5), (0.07, 0.085, 0.8), (0.7, 0.82, 1.0)), vary, strict=True
    ))  # fmt: skip
    _, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    truth = {"t1": t1, "t2": t2, "pd": pd, "ie": np.exp(-0.008 / t2 - 0.002 / t1), "b1": 1.1 - 0.2 * (x**2 + y**2)}
    truth = {name: np.ascontiguousarray(value[mask]) for name, value in truth.items()}
    clean = made(truth)
    noise = np.median(clean[:, 4]) / snr
    return {
        **truth, "data": clean + noise * rng.standard_normal(clean.shape), "noise": np.full(len(clean), noise),
        "mask": mask, "tissue": tissue[mask],
    }  # fmt: skip


def smoothed(one: dict[str, np.ndarray], **options):
    options = {"ie": BOUNDS, **options}
    start = fit(one["data"], TIMING, one["b1"], ie=options["ie"])
    return smooth_fit(one["data"], TIMING, one["b1"], one["noise"], start, mask=one["mask"], **options)


def errors(found, one: dict[str, np.ndarray]) -> np.ndarray:
    solid = one["tissue"] < 2
    return np.array([np.sqrt(np.mean((getattr(found, name) / one[name] - 1)[solid] ** 2)) for name in NAMES])


@pytest.mark.parametrize("snr", [50, 100])
def test_smoother_than_the_fit_with_the_same_means(snr):
    one = phantom(snr)
    found, plain = smoothed(one), fit(one["data"], TIMING, one["b1"])
    assert (errors(found, one) < 0.75 * errors(plain, one)).all()
    for which in (0, 1):
        here = one["tissue"] == which
        for name in NAMES:
            assert abs(getattr(found, name)[here].mean() / one[name][here].mean() - 1) < 0.005


def test_steps_end_at_the_minimum():
    """What is convex, against a general solver of the smooth dual problem, with voxels missing and unequal edges."""
    rng = np.random.default_rng(1)
    mask = rng.random((2, 2, 3)) > 0.2
    count = int(mask.sum())
    near = tv._neighbours(mask, np.array([2.0, 1.0, 1.5]))
    slopes = rng.standard_normal((count, 5, 4))
    precision = np.einsum("vki,vkj->vij", slopes, slopes)
    pull, cost = 3 * rng.standard_normal((count, 4)), rng.uniform(0.5, 1.5, count)
    number = np.full(mask.shape, -1)
    number[mask] = range(count)
    gradient = np.zeros((count, 3, count))
    for place in np.argwhere(mask):
        for axis in range(3):
            after = tuple(place + np.eye(3, dtype=int)[axis])
            if after[axis] < mask.shape[axis] and mask[after]:
                gradient[number[tuple(place)], axis, [number[tuple(place)], number[after]]] = (
                    np.array([-1, 1]) / (2.0, 1.0, 1.5)[axis]
                )

    def goal(x, sharp=0.0):
        x = x.reshape(count, 4)
        steep = np.einsum("vaw,wk->vak", gradient, x)
        value = 0.5 * np.einsum("vi,vij,vj", x, precision, x) - (pull * x).sum()
        return value + (cost * np.sqrt((steep**2).sum((1, 2)) + sharp)).sum()

    x = np.zeros((count, 4))
    step = 0.5
    inverse = np.linalg.inv(precision + np.eye(4) / step)
    tv._descend(
        x, np.zeros((count, 3, 4)), inverse, pull, near.after, near.before, near.weight.astype(float), cost, step,
        1 / (4 * step * float((near.weight**2).sum())), 4000,
    )  # fmt: skip
    best = np.zeros(4 * count)
    for sharp in (1e-2, 1e-4, 1e-6, 1e-8):
        best = minimize(goal, best, (sharp,), method="BFGS", options={"gtol": 1e-6, "maxiter": 2000}).x
    assert goal(x) <= goal(best) + 1e-6 * abs(goal(best))
    assert np.abs(x.ravel() - best).max() < 1e-2


@pytest.mark.parametrize("kind", ["of T2", "constant", "of B1"])
def test_the_efficiency_is_smoothed_but_for_what_follows_t2(kind):
    """Whatever it depends on, it comes out far better than by the fit, and no voxel out of range hides its loss."""
    one = phantom(50)
    other = {"of T2": one["ie"], "constant": np.full_like(one["ie"], 0.9), "of B1": 0.95 - 0.3 * (one["b1"] - 1) ** 2}
    one["ie"] = other[kind]
    one["data"] = made(one) + one["noise"][:, None] * np.random.default_rng(1).standard_normal((len(one["t1"]), 5))
    found = smoothed(one)
    assert errors(found, one)[3] < 0.006 < 0.2 * errors(fit(one["data"], TIMING, one["b1"]), one)[3]
    start = tv._start(fit(one["data"], TIMING, one["b1"]))
    x = np.log(np.stack((one["t1"], one["t2"])))
    x[1, :50] = np.log(1e-3)
    assert abs(tv._loss(x, start[3], 0.0128) - (0.007 if kind == "of T2" else 0)) < 0.001
    assert tv._loss(x, start[3], 0.003) <= 0.003
    assert tv._loss(np.zeros((2, 5)), np.ones(5), 0.0128) == 0


@pytest.mark.slow
@pytest.mark.parametrize("snr", [50, 100])
def test_beats_the_network_in_everything(snr):
    one = phantom(snr)
    network = train(one["data"], TIMING, one["b1"], one["noise"], mask=one["mask"], training=Training())
    told = estimate(network, one["data"], one["b1"], mask=one["mask"])
    assert (errors(smoothed(one), one) < errors(told, one)).all()


def test_no_weight_is_the_fit():
    one = phantom(100, (2, 12, 12))
    one = {**one, "data": one["data"][one["tissue"] < 2], "b1": one["b1"][one["tissue"] < 2]}
    one["noise"], one["mask"] = one["noise"][: len(one["data"])], np.ones((1, 1, len(one["data"])), bool)
    found, plain = smoothed(one, weight=0.0), fit(one["data"], TIMING, one["b1"])
    inside = plain.ie < 0.999
    for name in NAMES:
        assert np.allclose(getattr(found, name)[inside], getattr(plain, name)[inside], rtol=2e-4)


def test_scales_and_inputs():
    one = phantom(50, (2, 16, 16))
    before = {name: value.copy() for name, value in one.items()}
    found = smoothed(one)
    large = smoothed({**one, "data": 1e6 * one["data"], "noise": 1e6 * one["noise"]})
    assert np.allclose(large.t1, found.t1, rtol=1e-3)
    assert np.allclose(large.pd, 1e6 * found.pd, rtol=1e-3)
    assert all(np.array_equal(one[name], value) for name, value in before.items())
    assert found.ie.max() <= 1


@pytest.mark.parametrize("ie", ["known", "lookup"])
def test_known_efficiency(ie):
    one = phantom(50, (3, 24, 24))

    def lookup(t1, t2, b1):
        return torch.exp(-0.008 / t2 - 0.002 / t1)

    how = one["ie"] if ie == "known" else lookup
    found = smoothed(one, ie=how)
    assert np.allclose(found.ie, one["ie"], rtol=1e-12 if ie == "known" else 0.05)
    assert (errors(found, one)[:3] < errors(fit(one["data"], TIMING, one["b1"], ie=how), one)[:3]).all()


@pytest.mark.parametrize("known", [True, False], ids=["noise known", "noise judged"])
def test_maps_are_those_of_the_smooth_fit(known):
    """On the grid of voxels twice as thick as wide; without noise given, that of the residual is near enough."""
    one = phantom(50)
    values, b1 = np.zeros((5, *one["mask"].shape)), np.ones(one["mask"].shape)
    values[:, one["mask"]], b1[one["mask"]] = one["data"].T, one["b1"]
    noise = np.full(b1.shape, one["noise"][0]) if known else None
    images = Images(values, np.diag([1.0, 1, 2, 1]), ({},) * 5, noise_std=noise)
    maps = map_qalas(images, TIMING, b1, method="tv", mask=one["mask"])
    expected = smoothed(one, edges=np.array([2.0, 1, 1]))
    for name in NAMES:
        found = maps[name.upper()].values[one["mask"]]
        assert np.median(np.abs(found / getattr(expected, name) - 1)) < (1e-6 if known else 0.01)
    assert ("T1_std" in maps.volumes) == known
