"""Measurements that begin with what the one before them measured, against parts of the sequence played on their own."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.entries import differentiate_entries, play_entries
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from pulsetwin.sim.bloch_mcconnell.restarts import restarted
from tests.sim.bloch_mcconnell.protocols import spin_lock_protocol

SOLID, AMIDE = Pool("mt", 0.1, 40.0, -2.5, 1.2, 1e-5, "lorentzian"), Pool("amide", 2e-3, 60, 3.5, 1.0, 0.05)
SCHEDULE = {"b1": (0.0, 2e-6, 1e-6, 3e-6), "offset": (14.0, 3.0, -7.0, 9.0)}
NAMES = ("t1", "b1", "mt.fraction", "amide.exchange_rate")
TABLE = np.array([[1.2, 1.0, 0.1, 60.0], [0.9, 0.9, 0.15, 40.0], [1.5, 1.1, 0.06, 100.0]])


def model(*pools: Pool) -> PoolModel:
    return PoolModel(1.2, 0.08, pools, 2.8936, reset=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("restarts")


@pytest.fixture(scope="module")
def scan(folder):
    return spin_lock_protocol(folder / "scan.seq", shots=6, **SCHEDULE)


def parts(folder):
    """Return the sequences from each measurement's first excitation to the next measurement's samples."""
    whole = pp.Sequence()
    whole.read(str(folder / "scan.seq"))
    sampled = [number for number in whole.block_events if whole.get_block(number).adc is not None]
    for first, last in pairwise(sampled):
        part = pp.Sequence(whole.system)
        for number in range(first - 1, last + 1):
            part.add_block(whole.get_block(number))
        part.set_definition("B0", 2.8936)
        part.write(str(folder / "part.seq"))
        yield read_seq(folder / "part.seq")


@pytest.mark.parametrize("spoiled", [False, True])
@pytest.mark.parametrize("observe", ["transverse", "z"])
def test_each_measurement_begins_with_the_share_of_equilibrium_that_was_measured(folder, scan, spoiled, observe):
    """The parts begin with the model's scale; writing them anew rounds."""
    shares = np.random.default_rng(0).uniform(0.2, 1.0, (2, 4))
    tissue = model(SOLID, AMIDE)
    program = restarted(compile_seq(scan, tissue, spoiled=spoiled))
    got = np.abs(play_entries(program, tissue, ["t1"], np.full((2, 1), 1.2), observe=observe, shares=shares))
    for number, part in enumerate(parts(folder)):
        alone = compile_seq(part, tissue, spoiled=spoiled)
        for entry, share in enumerate(shares[:, number]):
            expected = play_entries(alone, replace(tissue, scale=share), ["t1"], [[1.2]], observe=observe)
            assert got[entry, number + 1] == pytest.approx(abs(expected[0, 1]), abs=2e-6)


def test_derivatives_are_those_of_the_signals(scan):
    tissue = model(SOLID, AMIDE)
    program, shares = restarted(compile_seq(scan, tissue, spoiled=True)), np.linspace(1, 0.3, 12).reshape(3, 4)
    signals, slopes = differentiate_entries(program, tissue, NAMES, TABLE, NAMES, shares=shares)
    for at, name in enumerate(NAMES):
        step = np.zeros(len(NAMES))
        step[at] = 1e-5 * TABLE[0, at]
        up, down = (play_entries(program, tissue, NAMES, TABLE + sign * step, shares=shares) for sign in (1, -1))
        expected = (up - down) / (2 * step[at])
        np.testing.assert_allclose(
            slopes[..., at], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=name
        )
    np.testing.assert_array_equal(signals, play_entries(program, tissue, NAMES, TABLE, shares=shares))


@pytest.mark.parametrize(("pools", "allowed"), [((), 2e-5), ((AMIDE,), 1e-4), ((SOLID, AMIDE), 4e-4)])
def test_what_the_sequence_gives_is_given_again(folder, pools, allowed):
    """But for relaxation during an excitation, and for pools that are not in equilibrium with water."""
    tissue = model(*pools)
    program = compile_seq(spin_lock_protocol(folder / "short.seq", shots=1, **SCHEDULE), tissue, spoiled=True)

    def played(program, shares=None):
        signals = play_entries(program, tissue, ["t1"], TABLE[:, :1], observe="transverse", shares=shares)
        return np.abs(signals / signals[:, :1])

    signals = played(program)
    np.testing.assert_allclose(played(restarted(program), signals), signals, rtol=0, atol=allowed)
    assert np.abs(played(restarted(program)) - signals).max() > 0.02


def test_where_a_record_tells_no_share_of_m0_is_refused(folder, scan):
    tissue = model(AMIDE)
    for program, told in (
        (compile_seq(scan, tissue, reset=True), "begins anew after each image"),
        (compile_seq(scan, tissue, isochromats=np.zeros((1, 3))), "reaches image 1"),
        (compile_seq(spin_lock_protocol(folder / "none.seq", shots=2, b1=(1e-6,) * 3), tissue), "is not M0"),
    ):
        with pytest.raises(ProtocolError, match=told):
            restarted(program)
    with pytest.raises(ShapeError, match="2 entries and 4 records"):
        play_entries(compile_seq(scan, tissue), tissue, ["t1"], np.ones((2, 1)), shares=np.ones((2, 3)))
