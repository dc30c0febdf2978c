"""A network that repairs images learns together with their sequence, is kept, and reads the raw data of the `.seq`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.cli import main
from pulsetwin.errors import ProtocolError
from pulsetwin.export.twix import write as write_twix
from pulsetwin.optimize.experiment import experiment_from, read_experiment
from pulsetwin.optimize.loop import optimise
from pulsetwin.optimize.network_weights import PREFIX
from pulsetwin.optimize.problem import problem_of
from pulsetwin.recon.image_network import load_image_network
from pulsetwin.scanner import Scanner
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantoms import shepp_logan
from tests.optimize.broken_off import Broken, broken_off

SMALL = """
title = "small"
[sequence]
kind = "gradient_echoes"
matrix = 8
readouts = 4
[phantom]
name = "sparse"
test = "shepp-logan"
[learn]
free = ["flip_angle", "centre"]
[target]
method = "cg"
iterations = 5
[network]
width = 4
layers = 1
[loop]
steps = 8
rate = 0.5
pictures = 100
states = 20
"""


def changed(**tables):
    base = {
        "sequence": {"kind": "gradient_echoes", "matrix": 8, "readouts": 4}, "phantom": {"name": "shepp-logan"},
        "learn": {"free": ["flip_angle", "centre"]}, "network": {"width": 4, "layers": 2},
    }  # fmt: skip
    return {name: base.get(name, {}) | tables.get(name, {}) for name in {**base, **tables}}


def started(problem, seed=1):
    """Return the values that a problem starts with, its network's last layer disturbed, as leaves."""
    generator = torch.Generator().manual_seed(seed)
    values = {name: parameter.start.clone() for name, parameter in problem.parameters.items()}
    for name in list(values)[-2:]:
        values[name] += 0.1 * torch.randn(values[name].shape, generator=generator, dtype=torch.float64)
    return {name: value.requires_grad_() for name, value in values.items()}


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"network": {"kernel": 4}}, r"file: \[network\] kernel = 4: give an odd number"),
        ({"network": {"turns": 2}, "loop": {"method": "lbfgs"}}, r"file: \[network\] turns: give \[loop\] method adam"),
        ({"network": {"turns": 2}, "limits": {"sar": 0.5}}, r"file: \[network\] turns: .* no sar or pns in \[limits\]"),
        ({"network": {"depth": 4}}, r"file: \[network\]: no setting 'depth'"),
        ({"sequence": {"readouts": 9}}, r"file: \[sequence\]: gradient echoes: 9 readouts of 8 lines"),
        ({"loss": {"kspace": 1.0}}, r"file: \[loss\] kspace .* leave readouts out"),
        ({"phantom": {"name": []}}, r"file: \[phantom\] name is empty"),
        ({"phantom": {"name": ["brian"]}}, r"file: \[phantom\]: name = 'brian'"),
    ],
)
def test_what_is_wrong_is_named(tables, told):
    with pytest.raises(ProtocolError, match=told):
        experiment_from(changed(**tables), "file")


def test_a_network_may_learn_alone_and_a_sequence_may_not_stay_as_it_is():
    problem = problem_of(experiment_from(changed(learn={"free": []}), "file"))
    assert all(name.startswith(PREFIX) for name in problem.parameters)
    tables = changed(learn={"free": []})
    del tables["network"]
    with pytest.raises(ProtocolError, match="free is empty"):
        experiment_from(tables, "file")


def test_the_target_has_all_readouts_and_those_played_are_about_the_centre():
    problem = problem_of(experiment_from(changed(), "file"))
    assert len(problem.target.values["flip_angle"]) == 8
    assert torch.equal(problem.scheme.values["centre"], problem.target.values["centre"][2:6])
    assert float(problem.relative_sar(problem.scheme.timeline())) == pytest.approx(0.5)
    tables = changed(sequence={"trajectory": "radial"})
    radial = problem_of(experiment_from(tables, "file"))
    assert torch.equal(radial.scheme.values["readout"], radial.target.values["readout"][::2])


def test_a_steady_image_is_not_repaired():
    tables = {"sequence": {"trajectory": "radial"}, "target": {"kind": "steady"}}
    problem = problem_of(experiment_from(changed(**tables), "file"))
    bare = problem_of(replace(experiment_from(changed(**tables), "file"), network=None))
    repairing, timeline, shown = problem.repairing(started(problem)), problem.timeline({}), problem.shown()
    with torch.no_grad():
        assert torch.equal(shown.image, bare.shown().image)
        assert torch.equal(repairing.steady(timeline, shown.voxels), bare.steady(timeline, shown.voxels))
        images = [one.measured(timeline, shown.voxels)[1] for one in (repairing, bare)]
    assert float((images[0] - images[1]).norm() / images[1].norm()) > 0.01


def test_phantoms_of_a_step_are_averaged():
    together = problem_of(experiment_from(changed(phantom={"name": ["brain", "shepp-logan"]}), "file"))
    apart = [problem_of(experiment_from(changed(phantom={"name": name}), "file")) for name in ("brain", "shepp-logan")]
    values = started(together)
    one, *others = (
        float(each.loss(values, 0, torch.Generator()).terms["image"].detach()) for each in (together, *apart)
    )
    assert one == pytest.approx(sum(others) / 2)
    both = problem_of(experiment_from(changed(phantom={"name": ["brain", "sparse"], "samples": 2}), "file"))
    found = [float(both.loss(values, 0, torch.Generator().manual_seed(n)).total.detach()) for n in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_gradients_through_network_and_simulation_are_those_of_differences():
    problem = problem_of(experiment_from(changed(), "file"))
    values = started(problem)
    generator = torch.Generator().manual_seed(2)
    problem.loss(values, 0, generator).total.backward()
    for name, value in values.items():
        way = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        of_network = name.startswith(PREFIX)  # computed in double precision; its rectifiers ask for small steps
        step = 1e-6 if of_network else 1e-3 * float(value.detach().abs().mean())
        ends = [values | {name: value.detach() + sign * step * way} for sign in (1, -1)]
        with torch.no_grad():
            high, low = (problem.loss(end, 0, generator).total for end in ends)
        expected = float((high - low) / (2 * step))
        assert float((value.grad * way).sum()) == pytest.approx(
            expected, rel=1e-4 if of_network else 0.02, abs=1e-8 if of_network else 2e-4
        ), name


def test_turns_are_of_sequence_and_network():
    problem = problem_of(experiment_from(changed(network={"width": 4, "layers": 1, "turns": 3}), "file"))
    for step, of_network in ((0, False), (2, False), (3, True), (6, False)):
        values = started(problem)
        problem.loss(values, step, torch.Generator()).total.backward()
        learning = {name for name, value in values.items() if value.grad is not None}
        assert learning == {name for name in values if name.startswith(PREFIX) == of_network}


def test_a_broken_run_goes_on_to_the_same_end(tmp_path):
    tables = changed(phantom={"name": "sparse"}, sequence={"matrix": 4, "readouts": 3}, network={"turns": 2})
    problem = problem_of(experiment_from(tables, "file"))
    settings = {"steps": 7, "rate": 0.1, "every": 2, "seed": 3}
    whole = optimise(problem.loss, problem.parameters, **settings).values

    kept = {"checkpoint": tmp_path / "checkpoint.pt"}
    with pytest.raises(Broken):
        optimise(problem.loss, problem.parameters, **settings, **kept, progress=broken_off(5))
    again = optimise(problem.loss, problem.parameters, **settings, **kept).values
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert any(not torch.equal(whole[name], one.start) for name, one in problem.parameters.items() if PREFIX in name)


def test_raw_data_of_the_learnt_sequence_become_the_learnt_image(small, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert main(["optimize", str(small), "-o", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    assert "network.safetensors" in result["hashes"]
    problem, learnt = problem_of(read_experiment(small)), np.load(run / "learnt.npz")
    network = load_image_network(run / "network.safetensors")
    values = {name: torch.from_numpy(learnt[f"value_{name}"]) for name in problem.parameters}
    for name, value in network.weights.items():
        assert torch.equal(value, values[PREFIX + name].float())
    with torch.no_grad():
        _, plain = problem.measured(problem.timeline(values), problem.shown().voxels)
    plain = plain.numpy()
    change = np.linalg.norm(learnt["image"] - plain) / np.linalg.norm(plain)
    monkeypatch.setattr("pulsetwin.sim.acquire.RAS_OF_GRADIENTS", np.eye(3))  # as experiments see their phantoms
    phantom = shepp_logan((1, 8, 8), problem.scheme.fov)
    write_twix(acquire(run / "sequence.seq", phantom, Scanner.preset("siemens-prisma")), tmp_path / "scan.dat")
    named = [str(tmp_path / "scan.dat"), "--seq", str(run / "sequence.seq"), "-o", str(tmp_path / "out")]
    used = ["--image-network", str(run / "network.safetensors")]
    assert main(["recon", *named, *used]) == 0
    told = json.loads((tmp_path / "out/summary.json").read_text())
    made = {name: told["settings"][name] for name in ("method", "iterations", "image_network")}
    assert made == {"method": "cg", "iterations": 5, "image_network": network.digest}
    assert sum(network.digest in warning for warning in told["warnings"]) == 1
    found = np.load(tmp_path / "out/images_complex.npy")[0, 0]
    scale = np.vdot(learnt["image"], found) / np.vdot(learnt["image"], learnt["image"])  # of the receiver
    gap = np.linalg.norm(found / scale - learnt["image"]) / np.linalg.norm(learnt["image"])
    assert abs(scale - 1) < 1e-4
    assert gap < 1e-4
    assert change > 0.02
    assert main(["recon", *named, *used, "--force", "--coils", "1"]) == 2
    (run / "network.safetensors").write_bytes(b"broken")
    assert main(["recon", *named, *used, "--force"]) == 2
