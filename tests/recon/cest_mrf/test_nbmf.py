"""Neural Bloch-McConnell fitting: against truth and voxelwise fits, in two steps, on a new subject, a real scan."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.recon.cest_mrf.nbmf import FURTHER, learn, nbmf
from pulsetwin.recon.cest_mrf.problem import Problem, normalised, predicted
from pulsetwin.recon.cest_mrf.reconstructor import told_values
from pulsetwin.recon.cest_mrf.training import Training
from pulsetwin.recon.cest_mrf.voxelwise import voxelwise
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from tests.recon.cest_mrf.fit_cases import DATA, MM, NAMES, larginine
from tests.recon.cest_mrf.network_cases import FREE, scan
from tests.sim.bloch_mcconnell.protocols import spin_lock_protocol

pytestmark = pytest.mark.slow  # each trains a network

SHORT = Training(steps=120, batch=256)


@pytest.fixture(scope="module")
def first():
    data, given, truth = scan(1000, seed=4)
    return learn(data, larginine(), FREE, given, training=SHORT), data, given, truth


def error(found, truth):
    """Return the root mean square of relative errors, by name."""
    return {name: np.sqrt(np.mean((found[name] / truth[name] - 1) ** 2)) for name in truth}


def test_learns_without_any_truth_what_a_voxelwise_fit_finds(first):
    network, data, given, truth = first
    some = slice(0, 300)
    data, given, truth = data[some], *({name: one[some] for name, one in values.items()} for values in (given, truth))
    found = nbmf(data, larginine(), FREE, given, reconstructor=network)
    fit = voxelwise(data, larginine(), FREE, given, starts=1)
    assert found.misfit.mean() < 1.15 * fit.misfit.mean()
    for name in NAMES:
        assert error(found.values, truth)[name] < 1.25 * error(fit.values, truth)[name]
        assert FREE[name][0] <= found.values[name].min()
        assert found.values[name].max() <= FREE[name][1]


def test_second_step_uses_what_the_first_one_told(first):
    _, data, given, truth = first
    known = given | {NAMES[0]: truth[NAMES[0]]}
    rate = {NAMES[1]: FREE[NAMES[1]]}
    network = learn(data, larginine(), rate, known, training=SHORT)
    found = nbmf(data, larginine(), rate, known, reconstructor=network)
    assert error(found.values, {NAMES[1]: truth[NAMES[1]]})[NAMES[1]] < 0.06
    other = nbmf(data, larginine(), rate, known | {NAMES[0]: 1.2 * truth[NAMES[0]]}, reconstructor=network)
    assert np.abs(other.values[NAMES[1]] / found.values[NAMES[1]] - 1).mean() > 0.05


def test_maps_a_new_subject_and_learns_further_from_it_without_changing_what_was_learnt(first):
    network, *_ = first
    before = network.digest
    data, given, truth = scan(300, seed=40)
    transferred = nbmf(data, larginine(), FREE, given, reconstructor=network)
    assert max(error(transferred.values, truth).values()) < 0.15
    tuned = nbmf(data, larginine(), FREE, given, reconstructor=network, training=FURTHER)
    assert tuned.misfit.mean() < transferred.misfit.mean()
    assert network.digest == before


def test_repeats_itself_and_depends_on_the_seed(first):
    _, data, given, _ = first
    tiny = Training(steps=2, batch=64)
    one, other = (learn(data, larginine(), FREE, known, training=tiny) for known in (given, dict(given)))
    np.testing.assert_array_equal(told_values(one, data, given), told_values(other, data, given))
    assert one.digest == other.digest
    assert one.digest != learn(data, larginine(), FREE, given, training=Training(2, 64, seed=1)).digest


def test_progress_ends_with_all_voxels(first):
    network, data, given, _ = first
    seen = []
    nbmf(data, larginine(), FREE, given, reconstructor=network, progress=lambda *told: seen.append(told))
    assert seen[-1] == (1000, 1000, "residual")


def test_other_bounds_than_those_learnt_are_refused(first):
    network, data, given, _ = first
    with pytest.raises(MismatchError, match="seek what it tells"):
        nbmf(data, larginine(), {NAMES[0]: FREE[NAMES[0]]}, given, reconstructor=network, training=FURTHER)


@pytest.mark.slow
def test_real_scan_of_larginine_leaves_less_than_its_dictionary_and_agrees_in_exchange():
    voxels = np.load(DATA / "cest_larg_9p4t" / "voxels.npz")
    free = {"t1": (2.5, 3.3), "t2": (0.6, 1.2), NAMES[0]: (10 * MM, 120 * MM), NAMES[1]: (100.0, 1400.0)}
    data = normalised(voxels["data"].astype(float), "l2")
    found = nbmf(data, larginine(), free, {}, training=Training(steps=800, batch=128, noise=1e-3))
    assert found.misfit.mean() < (2 - 2 * voxels["product"]).mean()
    assert np.corrcoef(found.values[NAMES[1]], voxels["exchange_rate"])[0, 1] > 0.97
    assert found.values[NAMES[0]].mean() == pytest.approx(50 * MM, rel=0.08)


def test_in_parallel_it_finds_what_it_finds_in_sequence(tmp_path):
    rng = np.random.default_rng(2)
    model = PoolModel(1.3, 0.08, (Pool("mt", 0.1, 40.0, 0.0, 1.3, 4e-5),), 2.8936, reset=False)
    schedule = {
        "b1": (0.0, *(1e-6 * rng.uniform(0.5, 4, 12).round(2))), "offset": (14.0, *rng.uniform(6, 14, 12).round(1))
    }  # fmt: skip
    program = compile_seq(spin_lock_protocol(tmp_path / "mt.seq", shots=4, **schedule), model, spoiled=True)
    problem = Problem(program, model, "transverse", "first")
    free, truth = {"mt.fraction": (0.0, 0.3)}, {"mt.fraction": rng.uniform(0.05, 0.2, 600)}
    given = {"t1": rng.uniform(0.8, 1.5, 600)}
    data = predicted(problem, ("mt.fraction", "t1"), np.column_stack((truth["mt.fraction"], given["t1"])))
    data = normalised(data + 1e-3 * rng.standard_normal(data.shape), "first")
    how = {"training": Training(steps=60, batch=128, noise=1e-3)}
    found, other = (nbmf(data, problem, free, given, parallel=parallel, **how) for parallel in (False, True))
    assert np.any(found.values["mt.fraction"] != other.values["mt.fraction"])
    for one in (found, other):
        assert error(one.values, truth)["mt.fraction"] < 0.02
    assert other.misfit.mean() < 1.1 * found.misfit.mean()


def test_mistakes_are_named():
    data, given, _ = scan(40)
    name, ends = NAMES[0], FREE[NAMES[0]]
    for values, free, told in (
        (data, {}, "nothing is sought"),
        (data, {name: ends[::-1]}, "the lower one first"),
        (data, FREE | {"t1": (1.0, 3.0)}, "sought and given"),
        (np.where(np.arange(40)[:, None] == 3, np.nan, data), FREE, "not finite"),
    ):
        with pytest.raises(ProtocolError, match=told):
            nbmf(values, larginine(), free, given)
    for normalisation, told in (("l2", "tells no shares of M0"), ("first", "reaches image 0")):
        with pytest.raises(ProtocolError, match=told):
            nbmf(data, larginine(normalisation), FREE, given, parallel=True, training=Training(1, 8, noise=0.0))


def test_parallel_is_of_training(first):
    network, data, given, _ = first
    with pytest.raises(ProtocolError, match="leave it out"):
        nbmf(data, larginine(), FREE, given, reconstructor=network, parallel=True)
