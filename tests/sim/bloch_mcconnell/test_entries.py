"""The compiled kernel against the differentiable engine, and its matrices against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.bloch_mcconnell.blocks import LANES
from pulsetwin.sim.bloch_mcconnell.compile_seq import MODES, compile_seq
from pulsetwin.sim.bloch_mcconnell.entries import OBSERVED, differentiate_entries, play_entries
from pulsetwin.sim.bloch_mcconnell.lanes import exponential, multiply
from pulsetwin.sim.bloch_mcconnell.play import with_defaults
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from pulsetwin.sim.bloch_mcconnell.propagate import propagate
from tests.sim.bloch_mcconnell.protocols import spin_lock_protocol


def lanes(matrices):
    return np.ascontiguousarray(np.moveaxis(matrices, 0, -1)).reshape(1, -1)


def entries(flat, m):
    return np.moveaxis(flat[0].reshape(m, m, LANES), -1, 0)


def affine(m, seed):
    matrices = np.random.default_rng(seed).standard_normal((LANES, m, m))
    matrices[:, -1] = 0
    return matrices


@pytest.mark.parametrize("m", [4, 7, 8, 23])
def test_products(m):
    left, right = affine(m, 0), affine(m, 1)
    left[:, -1, -1] = right[:, -1, -1] = 1
    out = np.zeros((1, m * m * LANES))
    multiply(out, lanes(left), lanes(right), m)
    np.testing.assert_allclose(entries(out, m), left @ right, rtol=0, atol=1e-13)


@pytest.mark.parametrize("time", [0.0, 1e-4, 0.003, 0.03, 0.3, 3.0])
def test_exponentials(time):
    generator = affine(7, 2)
    generator[:, :-1, :-1] -= 5 * np.eye(6)
    out, work = np.zeros((1, 49 * LANES)), np.zeros((5, 1, 49 * LANES))
    exponential(out, lanes(generator), time, work, 7)
    np.testing.assert_allclose(entries(out, 7), expm(time * generator), rtol=0, atol=1e-14)


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "spin_lock.seq"
    return spin_lock_protocol(path, shots=6, b1=(2e-6, 1e-6, 2e-6), offset=(3.0, 3.0, -7.0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("observe", OBSERVED)
@pytest.mark.parametrize("lineshape", [None, "lorentzian", "super_lorentzian"])
def test_as_tensor_operations(protocol, mode, observe, lineshape):
    """Signals, and derivatives with respect to all parameters, against those of autograd."""
    semisolid = Pool("mt", 0.1, 40.0, -2.5, 1.2, 1e-5, lineshape)
    model = PoolModel(1.2, 0.08, (semisolid, Pool("amide", 2e-3, 60, 3.5, 1.0, 0.05)), 2.8936, scale=0.7, reset=False)
    program = compile_seq(protocol, model, mode=mode)
    names = [name for name, _ in model.parameters()]
    rng = np.random.default_rng(3)
    table = np.array([value for _, value in model.parameters()]) * rng.uniform(0.8, 1.2, (LANES + 3, len(names)))
    table[:, 2] = rng.uniform(-0.3, 0.3, len(table))
    values = [column.clone().requires_grad_() for column in torch.from_numpy(table).T]
    expected = propagate(program, model, with_defaults(model, dict(zip(names, values, strict=True))), observe)
    got = play_entries(program, model, names, table, observe=observe, threads=2)
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=0, atol=1e-10)
    signal, slopes = differentiate_entries(program, model, names, table, names, observe=observe)
    np.testing.assert_array_equal(signal, got)
    parts = torch.view_as_real(expected) if expected.is_complex() else expected[..., None]
    for record in range(2):
        by_autograd = [torch.autograd.grad(part.sum(), values, retain_graph=True) for part in parts[:, record].T]
        parts_of = (slopes[:, record].real, slopes[:, record].imag)
        for ours, theirs in zip(parts_of[: len(by_autograd)], by_autograd, strict=True):
            relative = torch.stack(theirs, 1).numpy() * table
            np.testing.assert_allclose(ours * table, relative, rtol=0, atol=1e-9)


def test_isochromats_as_tensor_operations(protocol):
    model = PoolModel(1.2, 0.08, (Pool("amide", 2e-3, 60, 3.5, 1.0, 0.05),), 2.8936, reset=False)
    positions = np.random.default_rng(4).uniform(-1e-4, 1e-4, (5, 3))
    program = compile_seq(protocol, model, isochromats=positions)
    assert program.dephasing.shape[1] == 5
    values = with_defaults(model, {"t1": torch.tensor([1.2, 1.3], dtype=torch.float64)})
    got = play_entries(program, model, ["t1"], np.array([[1.2], [1.3]]), observe="transverse")
    expected = propagate(program, model, values, "transverse").numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


def test_what_is_refused(protocol):
    model = PoolModel(1.2, 0.08, (), 2.8936)
    program = compile_seq(protocol, model)
    with pytest.raises(ProtocolError, match="'t3' is unknown"):
        play_entries(program, model, ["t3"], np.ones((1, 1)))
    with pytest.raises(ShapeError, match="column for each"):
        play_entries(program, model, ["t1"], np.ones((1, 2)))
    with pytest.raises(ProtocolError, match="t1 of entry 1 is 0: give a time above 0 s"):
        play_entries(program, model, ["t1"], np.array([[1.0], [0.0]]))
    with pytest.raises(ProtocolError, match="b1 of entry 0 is nan: give a finite number"):
        play_entries(program, model, ["b1"], np.array([[np.nan], [0.0]]))
    with pytest.raises(ProtocolError, match="observe"):
        play_entries(program, model, ["t1"], np.ones((1, 1)), observe="xy")
    for bad in (0.0, -1.0, np.nan):
        values = with_defaults(model, {"t1": torch.tensor([1.0, bad], dtype=torch.float64)})
        with pytest.raises(ProtocolError, match=f"t1 of entry 1 is {bad:g}: give a time above 0 s"):
            propagate(program, model, values, "z")
