"""T1 mapping learns times and network, writes all of it, and goes on to the same end when it was broken off."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from pulsetwin.cli import main
from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens import write_seq
from pulsetwin.export.twix import write as write_twix
from pulsetwin.optimize.experiment import experiment_from, read_experiment
from pulsetwin.optimize.inversion_recovery import CRUSHING, RF_SPOILING
from pulsetwin.optimize.joint import learn_in_turns
from pulsetwin.optimize.realise_run import realise_run
from pulsetwin.optimize.run import run_experiment
from pulsetwin.optimize.t1_mapping import t1_problem_of
from pulsetwin.recon.image_network import load_image_network, save_image_network
from pulsetwin.recon.t1_network import new_t1_network, purpose_of, signed_shape, told_t1
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.inversion_recovery import Protocol, build
from pulsetwin.sequences.protocol import definitions
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sequences.snapshot import readout as played_readout
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_rectangle import random_rectangle
from pulsetwin.sim.signal_models.inversion_recovery import signals
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.optimize.broken_off import Broken, broken_off
from tests.optimize.test_experiment import assert_same_frames

SMALL = """
title = "small"
[sequence]
kind = "inversion_recovery"
images = 4
matrix = 8
[examples]
maps = 2
edge = 4
[network]
width = 16
layers = 2
[learn]
time = 1e-3
[turns]
voxels = 300
images = 20
rounds = 2
sequence_steps = 3
network_steps = 20
every = 7
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr("pulsetwin.optimize.t1_precision._MOST", 10)  # usual sequences are tried for long
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def changed(**tables):
    return {"sequence": {"kind": "inversion_recovery"}} | tables


def median_log_error(network, learnt):
    """Return the median of ``|log(T1 / true T1)|`` of a network in images without noise."""
    with torch.no_grad():
        told = told_t1(network, torch.from_numpy(learnt["images"])[:, None])[0].numpy()
    inside = learnt["t1_true"] > 0
    return np.median(np.abs(np.log(told[inside] / learnt["t1_true"][inside])))


def assert_spoiled_as_learnt(path):
    """Assert that RF phases and the crusher are those of the sequence that learns."""
    timeline = timeline_from_seq(path)
    steps = np.diff(timeline.phase.numpy()[1:9], 2)
    np.testing.assert_allclose(np.abs(np.angle(np.exp(1j * steps))), RF_SPOILING, atol=1e-6)
    first = int(timeline.interval_start[1])
    crusher = timeline.moment[:first, 2].max() * 2  # up to its middle, and on to its end
    assert float(crusher) == pytest.approx(CRUSHING / 8e-3, rel=1e-6)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"turns": {"round": 3}}, r"file: \[turns\]: no setting 'round', did you mean 'rounds'"),
        ({"loss": {}}, "no table 'loss'"),
        ({"network": 3}, "no table 'network'"),
        ({"learn": {"free": ["te"]}}, r"\[learn\] free holds te"),
        ({"learn": {"free": []}}, r"\[learn\] free is empty"),
        ({"examples": {"edge": 40}}, r"\[examples\] edge"),
        ({"turns": {"voxels": 0, "images": 0, "rounds": 0}}, r"\[turns\] voxels, images and rounds"),
    ],
)
def test_what_is_wrong_is_named(tables, told):
    with pytest.raises(ProtocolError, match=told):
        experiment_from(changed(**tables), "file")


def test_images_are_those_of_the_closed_form(small):
    problem = t1_problem_of(read_experiment(small))
    phantom = random_rectangle((1, 8, 8), problem.scheme.fov, edge=8, seed=2)
    flat = {"t1": torch.full((1, 8, 8), 1.2, dtype=torch.float64), "t2": torch.full((1, 8, 8), 0.02).double()}
    phantom = type(phantom)(
        **{name: getattr(phantom, name) for name in ("t2_prime", "diffusion", "b1", "coils", "size", "shape")}, **flat,
        proton_density=torch.ones(1, 8, 8, dtype=torch.float64), b0=torch.full((1, 8, 8), 20.0, dtype=torch.float64),
    )  # fmt: skip
    values = problem.scheme.values
    course = signals(
        torch.tensor([1.2], dtype=torch.float64), values["inversion_time"], values["recovery"],
        flip_angle=values["flip_angle"], tr=15e-3, pulses=8,
    )  # fmt: skip
    images = problem.images(values, phantom)
    middle = images[:, 4, 4]
    assert torch.allclose(middle.abs().double(), course[0].abs() * np.exp(-0.4), rtol=0.03)
    shapes = torch.stack((signed_shape(middle), signed_shape(course[0].to(torch.complex128)).float()))
    assert abs(float(shapes[0] @ shapes[1])) > 0.9995


def test_turns_alternate(small):
    problem = t1_problem_of(read_experiment(small))
    names = ["sequence" if "recovery" in turn.names else "network" for turn in problem.turns]
    assert names == ["sequence", "network", "sequence", "network", "sequence", "network"]
    assert [turn.steps for turn in problem.turns] == [300, 20, 3, 20, 3, 20]
    assert set(problem.turns[0].names) == {"inversion_time", "recovery", *problem.turns[1].names}
    assert set(problem.turns[2].names) == {"inversion_time", "recovery"}


@pytest.mark.slow
def test_a_run_learns_and_writes_all_of_it(small, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["optimize", str(small), "-o", str(out)]) == 0
    assert "T1 " in capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert result["steps"] == 366
    assert result["usual_recovered"]["duration"] > result["usual"]["duration"]
    learnt = np.load(out / "learnt.npz")
    assert result["TI"] == learnt["inversion_time"].tolist()
    assert not np.allclose(learnt["inversion_time"], 30e-3)
    inside = learnt["t1_true"] > 0
    error = np.abs(learnt["t1"][inside] / learnt["t1_true"][inside] - 1)
    assert np.sort(error)[(len(error) - 1) // 2] == pytest.approx(result["t1_error"], rel=1e-6)
    network = load_image_network(out / "network.safetensors")
    assert network.purpose["TI"] == result["TI"]
    untrained = t1_problem_of(read_experiment(small)).network
    assert 0 < median_log_error(network, learnt) < 0.5 * median_log_error(untrained, learnt)
    for name in ("state.png", "film.gif", "film.mp4"):
        assert (out / name).stat().st_size > 0
    assert [frame.stem for frame in sorted((out / "frames").iterdir())] == ["0000000", "0000250", "0000366"]
    played = read_seq(out / "sequence.seq")
    np.testing.assert_allclose(played.definitions["TI"], result["TI"], atol=1e-5)
    from_inversions = np.array(result["TI"][:-1]) + 8 * 15e-3 + result["recovery"]
    np.testing.assert_allclose(played.definitions["MeasurementTimes"][:-1], from_inversions, atol=2e-5)
    assert_spoiled_as_learnt(out / "sequence.seq")
    with pytest.raises(ProtocolError, match="written with it"):
        realise_run(out)
    nibabel.Nifti1Image(learnt["images"].T[:, :, None], np.eye(4)).to_filename(tmp_path / "images.nii.gz")
    named = ["--seq", str(out / "sequence.seq"), "--network", str(out / "network.safetensors")]
    assert main(["map", "t1", str(tmp_path / "images.nii.gz"), *named, "-o", str(tmp_path / "maps")]) == 0
    t1 = nibabel.load(tmp_path / "maps/maps/T1.nii.gz").get_fdata()[:, :, 0].T
    with torch.no_grad():
        wanted = told_t1(network, torch.from_numpy(learnt["images"])[:, None])[0].numpy()
    assert t1[4, 4] > 0
    np.testing.assert_allclose(t1[t1 > 0], wanted[t1 > 0], rtol=1e-5)


def test_raw_data_become_a_map(tmp_path):
    protocol = Protocol(
        matrix=(4, 4, 1), fov=(0.2, 0.2, 8e-3), echo_spacing=10e-3, inversion_times=(0.05, 0.4), recovery_times=(0.1,)
    )
    scanner, seq = Scanner.preset("siemens-prisma"), tmp_path / "ir.seq"
    write_seq(
        build(protocol, scanner), seq, scanner=scanner, definitions=definitions(protocol, "inversion_recovery", "0")
    )
    later = played_readout(protocol, protocol.flip_angle, scanner).centre
    purpose = purpose_of([0.05, 0.4], [0.1 - later], 5.0, 10e-3, 4)
    network = replace(new_t1_network(2, width=4), purpose=purpose)
    save_image_network(tmp_path / "n.safetensors", network)
    write_twix(acquire(seq, random_rectangle((1, 4, 4), edge=4), scanner), tmp_path / "scan.dat")
    named = ["--seq", str(seq), "--t1-network", str(tmp_path / "n.safetensors"), "-o", str(tmp_path / "out")]
    assert main(["recon", str(tmp_path / "scan.dat"), *named]) == 0
    assert main(["recon", str(tmp_path / "scan.dat"), *named, "--force", "--maps", "none"]) == 2
    t1 = nibabel.load(tmp_path / "out/maps/T1.nii.gz").get_fdata()[..., 0].T
    images = torch.from_numpy(np.load(tmp_path / "out/images_complex.npy"))
    with torch.no_grad():
        wanted = told_t1(network, images)[0].numpy()
    assert np.count_nonzero(t1) > 8
    np.testing.assert_allclose(t1[t1 > 0], wanted[t1 > 0], rtol=1e-4)


@pytest.mark.slow
def test_the_error_falls(small):
    own = read_experiment(small)
    problem = t1_problem_of(replace(own, turns=replace(own.turns, rounds=0)))
    errors = [line["error"] for line in learn_in_turns(problem.loss_of, problem.parameters, problem.turns).history]
    assert np.mean(errors[280:300]) < 0.5 * np.mean(errors[:20])


@pytest.mark.parametrize("setting", ["te = 1e-3", "thickness = 2e-4"])
def test_what_cannot_be_played_is_told_before_learning(setting, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(SMALL.replace("matrix = 8", f"matrix = 8\n{setting}"))

    def never(done, total, what):
        raise AssertionError("it learns")

    with pytest.raises(ProtocolError, match="ms is the least that works"):
        run_experiment(read_experiment(path), tmp_path / "run", progress=never)


def test_a_result_is_kept_where_it_cannot_be_played(small, tmp_path, monkeypatch, capsys):
    def impossible(*_, **__):
        raise ProtocolError("too short")

    monkeypatch.setattr("pulsetwin.optimize.t1_run.write_seq", impossible)
    small.write_text(SMALL.replace("voxels = 300", "voxels = 30").replace("rounds = 2", "rounds = 0"))
    assert main(["optimize", str(small), "-o", str(tmp_path / "run")]) == 0
    assert "sequence none: too short" in capsys.readouterr().out
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["not_realised"] == "too short"
    assert set(result["hashes"]) == {"experiment.toml", "learnt.npz", "network.safetensors"}
    assert np.load(tmp_path / "run/learnt.npz")["inversion_time"].tolist() == result["TI"]


@pytest.mark.slow
def test_a_broken_run_goes_on_to_the_same_end(small, tmp_path):
    experiment = read_experiment(small)
    run_experiment(experiment, tmp_path / "whole")

    with pytest.raises(Broken):
        run_experiment(experiment, tmp_path / "broken", progress=broken_off(355))
    run_experiment(experiment, tmp_path / "broken", resume=True)
    one, two = (np.load(tmp_path / name / "learnt.npz") for name in ("whole", "broken"))
    for name in one.files:
        assert np.array_equal(one[name], two[name]), name
    assert_same_frames(tmp_path)
