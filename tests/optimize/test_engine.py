"""Both engines give the same image and slopes of a structured sequence; an unstructured one takes isochromats."""

from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.engine import choose_engine
from pulsetwin.optimize.experiment import experiment_from
from pulsetwin.optimize.problem import problem_of
from pulsetwin.optimize.run import run_experiment
from pulsetwin.optimize.schemes import gradient_echoes
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.phantoms import brain
from tests.sim.test_isochromat_torch import difference

TABLES = {
    "sequence": {"kind": "gradient_echoes", "matrix": 8}, "phantom": {"name": "shepp-logan"},
    "learn": {"free": ["flip_angle", "spoil"]},
}  # fmt: skip


def problem(**loop):
    return problem_of(experiment_from(TABLES | {"loop": loop}, "file"))


def imaged(own, disturbed):
    """Return the image of a sequence, and the slopes of its squared distance from another one."""
    leaves = {name: value.clone().requires_grad_() for name, value in disturbed.items()}
    image = own.measured(own.timeline(leaves), own.still[0].voxels)[1]
    (image.abs().square().sum() / own.still[0].image.abs().square().sum()).backward()
    return image.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def test_engines_agree_on_image_and_slopes():
    generator = torch.Generator().manual_seed(2)
    graphs, spins = problem(engine="graphs"), problem(engine="isochromats", spins=2048)
    assert difference(spins.still[0].image, graphs.still[0].image) < 5e-3
    start = graphs.scheme.values["flip_angle"]
    disturbed = {"flip_angle": start * (1 + 0.3 * torch.randn(start.shape, generator=generator, dtype=torch.float64))}
    (one, slopes), (other, others) = (imaged(own, disturbed) for own in (graphs, spins))
    assert difference(other, one) < 5e-3
    assert difference(others["flip_angle"], slopes["flip_angle"]) < 0.02


def test_structured_sequences_are_played_by_graphs():
    engine = problem().engine
    assert (engine.name, engine.why) == ("graphs", "all states of the first sequence are kept")


def test_few_states_of_a_spoiled_sequence_are_enough():
    engine = problem(states=12).engine
    assert engine.name == "graphs"
    assert "12 states" in engine.why


def test_a_random_sequence_is_played_by_the_engine_that_is_nearer_to_the_truth():
    scheme = gradient_echoes(matrix=16)
    generator = torch.Generator().manual_seed(3)
    sizes = {"flip_angle": 1.5, "phase": 1, "centre": 10, "readout": 20, "bend": 4, "spoil": 10}
    random = {
        name: size * torch.randn(scheme.values[name].shape, generator=generator, dtype=torch.float64)
        for name, size in sizes.items()
    }
    timeline, voxels = scheme.timeline(random), brain((1, 16, 16), scheme.fov, fields=True).voxels()
    chosen = choose_engine("auto", timeline, voxels, 1000, 64)
    assert chosen.name == "isochromats"
    assert choose_engine("auto", timeline, voxels, 1000, 64) == chosen
    assert choose_engine("auto", timeline, voxels, 4096, 16).name == "graphs"
    truth = simulate_isochromats(timeline, voxels, spins=2048, seed=9)
    other = choose_engine("graphs", timeline, voxels, 1000, 64)
    errors = [difference(one.signal(timeline, voxels), truth) for one in (chosen, other)]
    assert errors[0] < 0.03 < errors[1]


def test_states_of_what_was_learnt_are_dropped_where_those_of_the_first_sequence_were_not():
    """What begins as equal lines keeps all its states; lines that are no longer equal have more."""
    own, generator = problem(states=64), torch.Generator().manual_seed(0)
    learnt = {
        name: own.scheme.values[name] + 10 * torch.randn((8, 2), generator=generator, dtype=torch.float64)
        for name in ("centre", "readout", "spoil")
    }
    assert own.engine.why == "all states of the first sequence are kept"
    assert own.engine.dropped(own.scheme.timeline(), own.still[0].voxels) == 0
    assert own.engine.dropped(own.scheme.timeline(learnt), own.still[0].voxels) > 0


def test_runs_tell_their_engine_and_learn_by_it(tmp_path):
    tables = TABLES | {"learn": {"free": ["flip_angle"]}, "loss": {"sar": 0.01}}
    for name in ("graphs", "isochromats"):
        own = experiment_from(tables | {"loop": {"engine": name, "steps": 8, "spins": 256}}, "file", name)
        result = run_experiment(own, tmp_path / name)
        assert (result["engine"], result["engine_reason"]) == (name, "asked for")
        assert result["states_dropped"] == 0
        assert 0.6 < result["sar"] < 0.99


def test_other_engines_are_refused():
    with pytest.raises(ProtocolError, match="engine = 'table'"):
        problem(engine="table")
