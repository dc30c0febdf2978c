"""The QALAS fit against the signals' truth, the Cramer-Rao bound, a general least-squares solver and the dictionary."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.qalas.crlb import least_deviations
from pulsetwin.recon.qalas.dictionary import Grid, match
from pulsetwin.recon.qalas.fit import fit, fit_magnitudes
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

SIEMENS = QalasTiming.preset("siemens", train_length=127)
UNEQUAL = dataclasses.replace(
    SIEMENS, train_starts=(0.12, 1.02, 1.95, 2.75, 3.9), flip_angles=(0.05, 0.06, 0.07, 0.08, 0.09),
    repetition_time=5.4,
)  # fmt: skip
TIMINGS = {"siemens": SIEMENS, "ge": QalasTiming.preset("ge"), "unequal": UNEQUAL}


def tissue(voxels: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    t1 = np.exp(rng.uniform(np.log(0.3), np.log(3), voxels))
    t2 = np.minimum(np.exp(rng.uniform(np.log(0.02), np.log(0.3), voxels)), t1)
    return {
        "t1": t1, "t2": t2, "pd": rng.uniform(0.5, 1.5, voxels), "ie": rng.uniform(0.7, 0.99, voxels),
        "b1": rng.uniform(0.65, 1.35, voxels),
    }  # fmt: skip


def made(timing: QalasTiming, truth: dict[str, np.ndarray]) -> np.ndarray:
    values = {name: torch.from_numpy(np.asarray(value, np.float64)) for name, value in truth.items()}
    return signals(timing, values.pop("t1"), values.pop("t2"), **values).numpy()


def worst(found, truth: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(getattr(found, name) / truth[name] - 1).max()) for name in ("t1", "t2", "pd", "ie"))


def lookup(t1, t2, b1):
    return 0.99 - 0.003 / t2 - 0.05 * (b1 - 1) ** 2 - 0.01 / t1


@pytest.mark.parametrize("timing", TIMINGS.values(), ids=TIMINGS)
@pytest.mark.parametrize("ie", ["free", "bounds", "known", "lookup"])
def test_exact_without_noise(timing, ie):
    truth = tissue(5000)
    if ie == "lookup":
        truth["ie"] = lookup(*(truth[name] for name in ("t1", "t2", "b1")))
    how = {"free": "free", "bounds": (0.5, 1.0), "known": truth["ie"], "lookup": lookup}[ie]
    found = fit(made(timing, truth), timing, truth["b1"], ie=how)
    assert worst(found, truth) < 1e-6
    assert found.valid.all()


def test_scaled_data_give_scaled_density():
    truth = tissue(300)
    data, b1 = made(SIEMENS, truth) + 0.001, truth["b1"]
    one, small = fit(data, SIEMENS, b1), fit(1e-6 * data, SIEMENS, b1)
    assert np.allclose(one.t1, small.t1, rtol=1e-7)
    assert np.allclose(one.pd, 1e6 * small.pd, rtol=1e-7)


@pytest.mark.parametrize("known", [False, True])
def test_least_squares_of_noisy_data_are_those_of_a_general_solver(known):
    truth = tissue(12, 3)
    data = made(UNEQUAL, truth) + 2e-4 * np.random.default_rng(4).standard_normal((12, 5))
    found = fit(data, UNEQUAL, truth["b1"], ie=truth["ie"] if known else "free")
    for k in range(12):
        last = [] if known else [truth["ie"][k]]

        def residual(x, k=k):
            ie = truth["ie"][k] if known else x[3]
            tissue = {"t1": np.exp(x[0]), "t2": np.exp(x[1]), "pd": x[2], "ie": ie, "b1": truth["b1"][k]}
            return 1e3 * (made(UNEQUAL, tissue) - data[k])

        begin = [np.log(truth["t1"][k]), np.log(truth["t2"][k]), truth["pd"][k], *last]
        best = least_squares(residual, begin, jac="3-point", xtol=1e-14, ftol=1e-14, gtol=1e-14)
        assert found.misfit[k] <= 2e-6 * best.cost * (1 + 1e-6) + 1e-18
        assert np.allclose([found.t1[k], found.t2[k]], np.exp(best.x[:2]), rtol=1e-4)


@pytest.mark.parametrize("snr", [50, 100])
@pytest.mark.parametrize(("t1", "t2"), [(0.85, 0.07), (1.35, 0.085)])
@pytest.mark.parametrize("known", [False, True])
def test_efficient(snr, t1, t2, known):
    """The deviation of the estimates is the least that is possible: SNR of contrast 5."""
    many = 20000
    ones = np.ones(many)
    truth = {"t1": t1 * ones, "t2": t2 * ones, "pd": ones, "ie": 0.9 * ones, "b1": ones}
    clean = made(SIEMENS, truth)
    noise = clean[0, 4] / snr
    data = clean + noise * np.random.default_rng(1).standard_normal(clean.shape)
    found = fit(data, SIEMENS, ones, ie=0.9 if known else "free")
    least = least_deviations(SIEMENS, np.array([[t1], [t2], [1], [0.9]]), ones[:1], noise, ie_known=known)[:, 0]
    for name, bound in list(zip(("t1", "t2", "pd", "ie"), least, strict=True))[: 3 if known else 4]:
        error = np.sqrt(np.mean((getattr(found, name) - truth[name]) ** 2))
        assert 0.95 < error / bound < 1.05, (name, error / bound)


def test_published_bounds():
    """WM and GM of Jun et al., noise of 1 % of WM's fifth contrast: T1, T2, PD [%], efficiency free or known."""
    rows, ones = np.array([[0.85, 1.35], [0.07, 0.085], [1, 1], [0.9, 0.9]]), np.ones(2)
    noise = 0.01 * made(SIEMENS, dict(zip(("t1", "t2", "pd", "ie"), rows[:, 0], strict=True)))[4]
    for known, expected in ((False, [[3.7, 3.1, 1.8], [5.1, 3.5, 3.3]]), (True, [[3.3, 3.1, 1.6], [4.4, 3.4, 2.8]])):
        percent = 100 * (least_deviations(SIEMENS, rows, ones, noise, ie_known=known)[:3] / rows[:3]).T
        assert np.abs(percent - expected).max() < 0.15


@pytest.mark.parametrize("timing", [SIEMENS, UNEQUAL], ids=["equal", "unequal"])
def test_bounds_follow_from_the_jacobian_that_autograd_makes(timing):
    truth = tissue(10)
    rows = np.stack([truth[name] for name in ("t1", "t2", "pd", "ie")])
    for known in (False, True):
        found = least_deviations(timing, rows, truth["b1"], 0.01, ie_known=known)
        for k, b1 in enumerate(truth["b1"].tolist()):
            jacobian = torch.autograd.functional.jacobian(
                lambda x, b1=b1: signals(timing, x[0], x[1], pd=x[2], ie=x[3], b1=b1), torch.from_numpy(rows[:, k])
            ).numpy()[:, : 3 if known else 4]
            bound = 0.01 * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))
            assert np.allclose(found[: len(bound), k], bound, rtol=1e-7)
            assert (found[len(bound) :, k] == 0).all()


def test_bounds_of_efficiency_hold():
    truth = {**tissue(2000), "ie": np.full(2000, 0.97)}
    data = made(SIEMENS, truth)
    data += 0.02 * data[:, 4:] * np.random.default_rng(0).standard_normal(data.shape)
    found = fit(data, SIEMENS, truth["b1"], ie=(0.5, 1.0))
    assert found.ie.max() == 1
    assert found.ie.min() >= 0.5
    at = found.ie == 1
    assert np.allclose(found.t1[at], fit(data[at], SIEMENS, truth["b1"][at], ie=1.0).t1)


def test_magnitudes_find_their_signs():
    truth = tissue(4000)
    truth["t1"][:400] = np.linspace(0.1, 0.13, 400)  # recovered before the second train
    truth["t1"][400:800] = np.linspace(4.5, 6, 400)  # still inverted at the third train
    truth["t2"] = np.minimum(truth["t2"], truth["t1"])
    data = made(SIEMENS, truth)
    found, signs = fit_magnitudes(np.abs(data), None, lambda x, rows: fit(x, SIEMENS, truth["b1"][rows]))
    assert (signs == np.sign(data)).all(1).mean() > 0.99
    right = (signs == np.sign(data)).all(1)
    assert np.abs(found.t1 / truth["t1"] - 1)[right].max() < 1e-6


def test_noisy_magnitudes_are_fitted_as_well_as_signed_data():
    truth = tissue(5000)
    truth["t1"] = np.clip(truth["t1"], 0.5, 2)
    data = made(SIEMENS, truth)
    noisy = data + 0.01 * np.median(data[:, 4]) * np.random.default_rng(0).standard_normal(data.shape)
    signed = fit(noisy, SIEMENS, truth["b1"])
    found, _ = fit_magnitudes(np.abs(noisy), None, lambda x, rows: fit(x, SIEMENS, truth["b1"][rows]))
    errors = [np.sqrt(np.mean((one.t1 / truth["t1"] - 1) ** 2)) for one in (found, signed)]
    assert errors[0] < 1.1 * errors[1]


@pytest.mark.parametrize("signed", [True, False])
def test_dictionary_is_the_best_of_all_atoms_and_near_the_fit(signed):
    grid = Grid(np.geomspace(0.3, 3, 40), np.geomspace(0.02, 0.3, 25), np.linspace(0.7, 1, 7), np.linspace(0.7, 1.3, 4))
    truth = tissue(80)
    truth["b1"] = grid.b1[np.random.default_rng(0).integers(4, size=80)]
    truth["ie"] = grid.ie[np.random.default_rng(1).integers(7, size=80)]
    data = made(SIEMENS, truth)
    found = match(data if signed else np.abs(data), SIEMENS, truth["b1"], grid=grid, ie=(0.5, 1), signed=signed)
    atoms = grid.atoms((0.5, 1))
    every = {b1: made(SIEMENS, {"t1": atoms[0], "t2": atoms[1], "ie": atoms[2], "b1": b1}) for b1 in grid.b1}
    for k in range(80):
        shapes = every[truth["b1"][k]] if signed else np.abs(every[truth["b1"][k]])
        size = (shapes @ (data[k] if signed else np.abs(data[k]))) / np.linalg.norm(shapes, axis=1)
        best = size.argmax()
        assert (found.t1[k], found.t2[k], found.ie[k]) == tuple(atoms[:, best])
    step = np.log(grid.t1[1] / grid.t1[0]), np.log(grid.t2[1] / grid.t2[0])
    away = [
        np.abs(np.log(getattr(found, name) / truth[name])) / width
        for name, width in zip(("t1", "t2"), step, strict=True)
    ]
    assert all(np.quantile(one, 0.95) < 1 for one in away)


def test_published_dictionary_has_its_size():
    assert Grid().atoms((0.5, 1)).shape == (3, 3140774)


def test_what_is_wrong_is_said():
    with pytest.raises(ShapeError, match=r"give \[voxel, 5\]"):
        fit(np.ones((3, 4)), SIEMENS, np.ones(3))
    with pytest.raises(ProtocolError, match="'fre'"):
        fit(np.ones((3, 5)), SIEMENS, np.ones(3), ie="fre")
