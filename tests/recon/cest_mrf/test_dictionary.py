"""Dictionaries in files: made in shards by any executor, gone on with after an interrupt, and told from others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io

from pulsetwin.errors import FileError, MismatchError
from pulsetwin.recon.agreement import pearson
from pulsetwin.recon.cest_mrf import shards
from pulsetwin.recon.cest_mrf.by_dictionary import by_dictionary
from pulsetwin.recon.cest_mrf.dictionary import computed, kept
from pulsetwin.recon.cest_mrf.grid import Cartesian, spaced
from pulsetwin.recon.cest_mrf.problem import normalised, predicted, problem_of
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import GAMMA, Pool, PoolModel
from tests.recon.cest_mrf.cases import DATA, SEQ

LARGINE = DATA / "cest_larg_9p4t"


@pytest.fixture(scope="module")
def problem(seq, study):
    return problem_of(seq, study.model, **study.measurement)


@pytest.fixture(scope="module")
def truth(problem, study):
    return predicted(problem, study.grid.names, study.grid.table(0, len(study.grid)))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(shards, "_SHARD", 512)


def test_in_memory(problem, study, truth):
    told = []
    found = computed(problem, study.grid, 2, lambda done, total, what: told.append((done, total)))
    np.testing.assert_array_equal(found.signals, truth)
    assert told[-1] == (len(truth), len(truth))


def test_threads_and_a_second_call_that_reads(tmp_path, small, problem, study, seq, truth):
    path = tmp_path / "made" / "one.h5"
    with ThreadPoolExecutor(2) as executor:
        first = kept(path, problem, study.grid, seq, executor=executor, workers=2)
    np.testing.assert_array_equal(first.signals, truth)
    again = kept(path, problem, study.grid, seq, executor=NoExecutor())
    np.testing.assert_array_equal(again.signals, truth)


class NoExecutor(ThreadPoolExecutor):
    """An executor that must not be used."""

    def submit(self, *_, **__):
        raise AssertionError("nothing is to be made")


class Interrupted(ThreadPoolExecutor):
    """An executor that stops as Ctrl-C would, in the given shard."""

    def __init__(self, after):
        super().__init__(1)
        self.after, self.made, self.lock = after, 0, threading.Lock()

    def submit(self, function, *arguments):
        def run():
            with self.lock:
                self.made += 1
                if self.made > self.after:
                    raise KeyboardInterrupt
            return function(*arguments)

        return super().submit(run)


def test_an_interrupt_loses_no_shard_that_was_complete(tmp_path, small, problem, study, seq, truth):
    path = tmp_path / "one.h5"
    with pytest.raises(KeyboardInterrupt):
        kept(path, problem, study.grid, seq, executor=Interrupted(2))
    with h5py.File(path) as file:
        assert file["complete"][:].tolist() == [True, True] + [False] * (-(-len(truth) // 512) - 2)
        np.testing.assert_array_equal(file["signals"][:1024], truth[:1024])
    rest = Interrupted(99)
    np.testing.assert_array_equal(kept(path, problem, study.grid, seq, executor=rest).signals, truth)
    assert rest.made == -(-len(truth) // 512) - 2


def test_single_precision_takes_half(tmp_path, problem, study, seq, truth):
    with ThreadPoolExecutor(1) as executor:
        found = kept(tmp_path / "one.h5", problem, study.grid, seq, executor=executor, dtype="float32")
        np.testing.assert_array_equal(found.signals, truth.astype(np.float32))
        with pytest.raises(MismatchError, match="holds float32, not float64"):
            kept(tmp_path / "one.h5", problem, study.grid, seq, executor=executor)


@pytest.mark.slow
def test_processes_by_default(tmp_path, small, problem, seq):
    grid = Cartesian({"t1": spaced(2.5, 3.3, 0.001)})
    found = kept(tmp_path / "one.h5", problem, grid, seq)
    np.testing.assert_array_equal(found.signals, predicted(problem, grid.names, grid.table(0, len(grid))))


@pytest.mark.slow
def test_dask(tmp_path, small, problem, study, seq, truth):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = kept(tmp_path / "one.h5", problem, study.grid, seq, executor=client.get_executor(), workers=2)
        np.testing.assert_array_equal(found.signals, truth)


@pytest.mark.slow
def test_submitit(tmp_path, monkeypatch, problem, study, seq, truth):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(shards, "_SHARD", 2048)
    executor = submitit.AutoExecutor(tmp_path / "logs", cluster="local")
    executor.update_parameters(timeout_min=5)
    found = kept(tmp_path / "one.h5", problem, study.grid, seq, executor=executor)
    np.testing.assert_array_equal(found.signals, truth)
    assert len(list((tmp_path / "logs").glob("*_result.pkl"))) == 2


def test_another_model_grid_or_sequence_is_told(tmp_path, problem, study, seq):
    path = tmp_path / "one.h5"
    grid = Cartesian({"t1": np.array([2.5, 2.6])})
    with ThreadPoolExecutor(1) as executor:
        kept(path, problem, grid, seq, executor=executor)
        other = tmp_path / "other.seq"
        other.write_bytes(SEQ.read_bytes() + b"\n")
        first = replace(problem, normalisation="first")
        warmer = replace(problem, model=replace(problem.model, t2=1.3))
        for word, asked in {
            "grid": (problem, Cartesian({"t1": np.array([2.5, 2.7])}), seq),
            "model": (warmer, grid, seq),
            "normalisation: l2, not first": (first, grid, seq),
            "seq: ": (problem, grid, read_seq(other)),
        }.items():
            with pytest.raises(MismatchError, match=f"is a dictionary of another {word}"):
                kept(path, *asked, executor=executor)


def test_other_files_are_left_alone(tmp_path, problem, study, seq):
    (tmp_path / "text.h5").write_text("no dictionary")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["signals"] = np.ones(3)
    for name, message in (("text.h5", "cannot be opened as HDF5"), ("other.h5", "is no dictionary")):
        with pytest.raises(FileError, match=message):
            kept(tmp_path / name, problem, study.grid, seq)
    with h5py.File(tmp_path / "other.h5") as file:
        assert list(file) == ["signals"]


@pytest.mark.slow
@pytest.mark.skipif(not LARGINE.exists(), reason="the L-arginine data are not here")
def test_the_reference_maps_of_real_data_are_reproduced(seq, problem):
    grid = Cartesian({
        "t1": spaced(2.5, 3.3, 0.05), "t2": spaced(0.6, 1.2, 0.05), "amine.exchange_rate": spaced(100, 1400, 10),
        "amine.fraction": spaced(10, 120, 5) * 3 / 110e3,
    })  # fmt: skip
    mask = np.load(LARGINE / "mask.npy")
    images = scipy.io.loadmat(LARGINE / "acquired_data.mat")["acquired_data"].astype(np.float64)
    reference = scipy.io.loadmat(LARGINE / "quant_maps.mat")
    data = normalised(images[:, mask].T, "l2")
    found = by_dictionary(data, computed(problem, grid), {})
    for name, theirs in {"amine.fraction": "fs", "amine.exchange_rate": "ksw", "t1": "t1w", "t2": "t2w"}.items():
        assert np.isclose(found.values[name], reference[theirs][mask], rtol=1e-6).mean() >= 0.995, name
    np.testing.assert_allclose(1 - found.misfit / 2, reference["dp"][mask], rtol=0, atol=2e-8)


@pytest.mark.skipif(not LARGINE.exists(), reason="the L-arginine data are not here")
def test_reference_maps_where_they_have_the_commonest_relaxation_times(problem):
    mask = np.load(LARGINE / "mask.npy")
    images = scipy.io.loadmat(LARGINE / "acquired_data.mat")["acquired_data"].astype(np.float64)
    reference = {name: scipy.io.loadmat(LARGINE / "quant_maps.mat")[name][mask] for name in ("t1w", "t2w", "fs", "ksw")}
    pairs, which, counts = np.unique(
        np.round(np.stack((reference["t1w"], reference["t2w"]), 1), 6), axis=0, return_inverse=True, return_counts=True
    )
    here = which.ravel() == counts.argmax()
    t1, t2 = pairs[counts.argmax(), :, None]
    grid = Cartesian({
        "t1": t1, "t2": t2, "amine.exchange_rate": spaced(100, 1400, 10),
        "amine.fraction": spaced(10, 120, 5) * 3 / 110e3,
    })  # fmt: skip
    found = by_dictionary(normalised(images[:, mask].T[here], "l2"), computed(problem, grid), {})
    assert here.sum() > 50
    for name, theirs in {"amine.fraction": "fs", "amine.exchange_rate": "ksw"}.items():
        np.testing.assert_allclose(found.values[name], reference[theirs][here], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "iohexol_4p7t").exists(), reason="the iohexol data are not here")
def test_iohexol_with_known_relaxation_times(tmp_path):
    """4.7 T, two protons at 4.3 ppm; B1 and times are those of the L-arginine schedule."""
    folder, pool = DATA / "iohexol_4p7t", Pool("iohexol", 1e-3, 300, 4.3, 2.2, 0.04)
    text = SEQ.read_text().replace("B0 9.4", "B0 4.7").replace("1200.65", f"{4.3e-6 * 4.7 * GAMMA / (2 * np.pi):.3f}")
    (tmp_path / "iohexol.seq").write_text(text)
    model = PoolModel(2.5, 0.5, (pool,), 4.7, reset=False)
    problem = problem_of(
        read_seq(tmp_path / "iohexol.seq"), model, mode="pulseq_cest", observe="transverse", normalisation="l2"
    )
    rois = scipy.io.loadmat(folder / "rois_iohexol.mat")
    mask = sum(rois[f"ROImask{n}"] for n in (1, 2, 3)) > 0
    images = np.rot90(scipy.io.loadmat(folder / "acquired_data_iohexol.mat")["dataToMatch"], axes=(1, 2))
    times, reference = (scipy.io.loadmat(folder / f"{name}.mat") for name in ("t1_t2_maps_iohexol", "nn_reco_maps"))
    grid = Cartesian({
        "t1": spaced(2, 3.6, 0.1), "t2": spaced(0.2, 0.9, 0.05), "iohexol.exchange_rate": spaced(50, 1800, 10),
        "iohexol.fraction": spaced(10, 100, 5) * 2 / 110e3,
    })  # fmt: skip
    given = {"t1": 1e-3 * times["GT_T1"][mask], "t2": 1e-3 * times["GT_T2"][mask]}
    found = by_dictionary(normalised(images[:, mask].T.astype(float), "l2"), computed(problem, grid), given)
    assert np.isfinite(found.misfit).all()
    for name, theirs in {"iohexol.fraction": "fs", "iohexol.exchange_rate": "ksw"}.items():
        assert pearson(found.values[name], reference[theirs][mask]) >= 0.93, name
