"""The signal of a graph against a direct sum over spins, and the bookkeeping of its states."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.sim.graph import PLUS, Z0, select_states
from pulsetwin.sim.graph_build import build_graph, sampled_rows
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.state_selection import state_signals
from tests.sim import graph_cases as cases

SEQUENCES = {"flash": cases.flash, "rare": cases.rare, "bssfp": cases.bssfp, "unstructured": cases.unstructured}


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", SEQUENCES)
def test_points_agree_with_spins(name):
    timeline, voxels = SEQUENCES[name](), cases.row_of_voxels()
    result = simulate_graphs(timeline, voxels, dtype=torch.complex128)
    assert relative(result.signal, cases.spins(timeline, voxels)) < 1e-10
    assert result.error == 0
    single = simulate_graphs(timeline, voxels)
    assert single.signal.dtype == torch.complex64
    assert relative(single.signal, result.signal) < 1e-5


def test_structured_sequences_merge():
    counts = {name: build_graph(make()).states for name, make in SEQUENCES.items()}
    assert counts["flash"] < 12 * 12 * 2
    assert counts["bssfp"] < 12 * 12 * 3  # whole and half multiples of TR, since the first interval is TR / 2
    assert counts["unstructured"] > 3**5


def test_parallel_transmission():
    timeline, voxels = cases.rare(), cases.row_of_voxels(channels=3)
    random = torch.Generator().manual_seed(1)
    weights = torch.rand(timeline.pulses, 3, 2, generator=random, dtype=torch.float64)
    shimmed = replace(timeline, shim=torch.view_as_complex(weights))
    found = simulate_graphs(shimmed, voxels, dtype=torch.complex128)
    assert relative(found.signal, cases.spins(shimmed, voxels)) < 1e-10
    plain = simulate_graphs(timeline, voxels, dtype=torch.complex128)
    assert relative(plain.signal, cases.spins(timeline, voxels)) < 1e-10


def test_graph_is_well_formed():
    graph = build_graph(cases.rare(), cases.row_of_voxels())
    child = np.repeat(np.arange(graph.states), np.diff(graph.edge_start))
    row = np.repeat(np.arange(graph.rows), np.diff(graph.row_start))
    assert np.array_equal(row[child], row[graph.edge_parent] + 1)
    for r in range(graph.rows):
        kinds = graph.kind[graph.row_start[r] : graph.row_start[r + 1]]
        assert kinds[0] == Z0
        assert np.all(np.diff(kinds) >= 0)
        assert np.all((kinds == PLUS) == (np.arange(len(kinds)) >= graph.plus_start[r] - graph.row_start[r]))
    has_parent = np.diff(graph.edge_start)[1:] > 0
    assert has_parent.all()


def test_states_are_bounded_and_the_error_then_unknown():
    timeline, voxels = cases.unstructured(), cases.row_of_voxels()
    whole = simulate_graphs(timeline, voxels, dtype=torch.complex128)
    errors = []
    for most in (20, 60, 120):
        some = simulate_graphs(timeline, voxels, dtype=torch.complex128, max_states=most)
        assert np.diff(some.graph.row_start).max() <= most
        assert some.states_dropped > 0
        assert some.error is None
        errors.append(relative(some.signal, whole.signal))
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 0.2


def test_chunks_of_voxels_add_up(monkeypatch):
    timeline, voxels = cases.flash(), cases.row_of_voxels()
    whole = simulate_graphs(timeline, voxels, dtype=torch.complex128).signal
    monkeypatch.setattr("pulsetwin.sim.graph_torch._MEMORY", 1 << 20)
    assert relative(simulate_graphs(timeline, voxels, dtype=torch.complex128).signal, whole) < 1e-12


def test_settings_that_cannot_be_honoured_raise():
    timeline, voxels = cases.flash(), cases.row_of_voxels()
    with pytest.raises(ProtocolError, match="complex64"):
        simulate_graphs(timeline, voxels, dtype=torch.float32)
    with pytest.raises(ProtocolError, match="at least one"):
        simulate_graphs(timeline, voxels, max_states=0)
    with pytest.raises(MismatchError, match="12 pulses for 5"):
        simulate_graphs(cases.flash(5), voxels, graph=build_graph(timeline))
    with pytest.raises(ProtocolError, match="tol"):
        simulate_graphs(timeline, voxels, tol=2.0)
    with pytest.raises(MismatchError, match="channels"):
        simulate_graphs(replace(timeline, shim=torch.ones(12, 2, dtype=torch.complex128)), voxels)


@pytest.mark.parametrize("name", ["flash", "rare", "bssfp"])
def test_tolerance_holds_and_saves_states(name):
    timeline, voxels = SEQUENCES[name](12, 4), replace(cases.row_of_voxels(), shape="box")
    whole = simulate_graphs(timeline, voxels, dtype=torch.complex128)
    counts = [whole.states]
    for tol in (1e-3, 1e-2, 1e-1):
        some = simulate_graphs(timeline, voxels, dtype=torch.complex128, tol=tol)
        assert relative(some.signal, whole.signal) <= tol
        assert 0 <= some.error <= tol
        assert some.states_total == whole.states
        counts.append(some.states)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 0.9 * counts[0]


@pytest.mark.slow
def test_probes_estimate_what_a_state_adds():
    """Against the signal with each state taken out in turn."""
    timeline, voxels = cases.rare(4, 4), replace(cases.row_of_voxels(), shape="box")
    graph = build_graph(timeline, voxels)
    estimate = state_signals(graph, timeline, voxels, probes=200)
    whole = simulate_graphs(timeline, voxels, dtype=torch.complex128, graph=graph).signal
    states = np.flatnonzero(graph.kind != Z0)
    for state in states[:: len(states) // 8]:
        less = select_states(graph, np.arange(graph.states) != state, sampled_rows(timeline))
        change = relative(simulate_graphs(timeline, voxels, dtype=torch.complex128, graph=less).signal, whole)
        assert estimate[state] == pytest.approx(change, rel=0.25, abs=1e-6)


def test_timelines_at_the_edge():
    """No samples at all, a pulse with nothing after it, a single sample."""
    voxels = cases.row_of_voxels()
    silent = cases.unstructured(3, 1)
    assert silent.samples == 0
    assert simulate_graphs(silent, voxels).signal.shape == (2, 0)
    assert simulate_graphs(silent, voxels, tol=0.1).signal.shape == (2, 0)
    line = cases.unstructured(3, 4)
    composite = replace(
        line, flip_angle=torch.cat((line.flip_angle[:1], line.flip_angle)),
        phase=torch.cat((line.phase, line.phase[:1])), frequency=torch.zeros(4, dtype=torch.float64),
        shape=torch.full((4,), -1), interval_start=torch.cat((torch.zeros(1, dtype=torch.int64), line.interval_start)),
    )  # fmt: skip
    found = simulate_graphs(composite, voxels, dtype=torch.complex128).signal
    assert relative(found, cases.spins(composite, voxels)) < 1e-10
    one = replace(
        line, sample_interval=line.sample_interval[:1], sample_phase=line.sample_phase[:1],
        readout_start=torch.tensor([0, 1]), readout_shape=torch.tensor([0]),
    )  # fmt: skip
    assert relative(simulate_graphs(one, voxels, dtype=torch.complex128).signal, cases.spins(one, voxels)) < 1e-10


def test_voxels_of_single_precision_and_nothing_in_transmission():
    timeline, voxels = cases.flash(), cases.row_of_voxels()
    names = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "position")
    single = replace(voxels, **{name: getattr(voxels, name).float() for name in names})
    assert relative(simulate_graphs(timeline, single).signal, cases.spins(timeline, voxels)) < 1e-5
    dark = replace(voxels, b1=torch.zeros_like(voxels.b1))
    assert simulate_graphs(timeline, dark).signal.abs().max() == 0


def test_many_pulses_stay_accurate_in_single_precision():
    timeline = cases.flash(100, 4)
    voxels = replace(cases.row_of_voxels(), t2_prime=torch.full((32,), 0.05).double(), shape="box")
    exact = simulate_graphs(timeline, voxels, dtype=torch.complex128).signal
    assert relative(simulate_graphs(timeline, voxels).signal, exact) < 2e-5
