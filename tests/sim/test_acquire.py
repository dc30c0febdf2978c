from dataclasses import replace

import numpy as np
import pytest
import torch

from examples.twin_sequences import epi, rare
from pulsetwin import cli
from pulsetwin.errors import ProtocolError
from pulsetwin.export.twix import write
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for
from tests.world import at_voxels

MATRIX = 24
PRISMA = Scanner.preset("siemens-prisma")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seq")
    for build in (epi, rare):
        build(MATRIX).write(str(folder / f"{build.__name__}.seq"))
    return folder


@pytest.fixture(scope="module")
def brain(paths):
    """A brain without off-resonance and with uniform fields, of point voxels: images show its voxels exactly."""
    phantom = phantom_for(read_seq(paths / "rare.seq"), "brain", MATRIX, PRISMA)
    return replace(
        phantom,
        shape="point",
        b0=torch.zeros_like(phantom.b0),
        b1=torch.ones_like(phantom.b1),
        t2_prime=torch.full_like(phantom.t2_prime, torch.inf),
    )


def scaled_error(image, truth):
    """NRMSE after the best scale."""
    scale = (image * truth).sum() / (image * image).sum()
    return np.linalg.norm(scale * image - truth) / np.linalg.norm(truth)


def test_spin_echo_train_gives_the_phantom_back(paths, brain):
    tissue = replace(brain, t2=torch.full_like(brain.t2, 1e3), diffusion=torch.zeros_like(brain.diffusion))
    images = reconstruct(acquire(paths / "rare.seq", tissue))
    found = np.abs(at_voxels(images.values[0], images.affine, tissue))
    assert scaled_error(found, tissue.proton_density.numpy()) < 0.01


def test_echo_planar_scan_gives_the_phantom_back(paths, brain):
    tissue = replace(brain, t2=torch.full_like(brain.t2, 1e3))
    images = reconstruct(acquire(paths / "epi.seq", tissue))
    found = np.abs(at_voxels(images.values[0], images.affine, tissue))
    assert scaled_error(found, tissue.proton_density.numpy()) < 0.01


def test_raw_file_holds_what_was_measured(paths, brain, tmp_path):
    raw = acquire(paths / "epi.seq", brain, PRISMA, coils=4, snr=30, seed=3)
    write(raw, tmp_path / "scan.dat")
    again = read(tmp_path / "scan.dat", paths / "epi.seq")
    assert np.array_equal(np.asarray(again.groups[0].samples[:]), raw.groups[0].samples)
    assert np.array_equal(again.noise, raw.noise)
    assert np.allclose(again.groups[0].trajectory.positions(), raw.groups[0].trajectory.positions())
    assert np.allclose(again.geometry.fov, raw.geometry.fov)
    assert again.geometry.matrix == raw.geometry.matrix
    ours, theirs = (reconstruct(one).values for one in (raw, again))
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(ours)


def test_noise_has_the_stated_level_and_correlation(paths, brain):
    raw = acquire(paths / "rare.seq", brain, coils=4, snr=40, noise_correlation=0.5)
    covariance = np.cov(raw.noise)
    correlation = covariance / covariance[0, 0].real
    assert np.allclose(correlation, 0.5 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))), atol=0.05)
    flat = acquire(paths / "rare.seq", brain, coils=4, snr=40, noise_correlation=0.0)
    images = reconstruct(flat)
    inside = brain.proton_density.numpy() > 0
    image, noise = (at_voxels(one, images.affine, brain)[inside] for one in (images.values[0], images.noise_std))
    snr = np.abs(image) / noise
    assert np.sqrt(np.mean(snr**2)) == pytest.approx(40, rel=0.08)


def test_seed_decides_the_noise(paths, brain):
    one, same, other = (acquire(paths / "epi.seq", brain, snr=20, seed=seed).groups[0].samples for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("late", "found"),
    [
        ({"receiver_delay": 1.5e-6}, -1.5e-6),
        ({"gradient_delay": (1.5e-6, 0.0, 0.0)}, 1.5e-6),
        ({"gradient_delay": (-1.5e-6, 0.0, 0.0)}, -1.5e-6),
    ],
)
def test_a_delay_is_found_by_the_ghost_correction(paths, brain, late, found):
    """A receiver that is late is one whose gradients are early."""
    images = reconstruct(acquire(paths / "epi.seq", brain, **late))
    assert images.quality["gradient_delay"] == pytest.approx(found, rel=0.1)
    assert images.quality["ghost_level_after"] < 0.2 * images.quality["ghost_level_before"]


@pytest.mark.parametrize(("thickness", "same"), [(1e-3, 0.01), (5e-3, 0.15)])
def test_engines_agree(paths, brain, thickness, same):
    """Voxels as thick as the slice have a tenth less of it in the isochromats, which play the pulse's gradient."""
    phantom = replace(
        brain, shape="box", diffusion=torch.zeros_like(brain.diffusion), size=(*brain.size[:2], thickness)
    )
    graphs, spins = (
        acquire(paths / "epi.seq", phantom, engine=engine, spins=spins).groups[0].samples
        for engine, spins in (("graphs", None), ("isochromats", 1024))
    )
    scale = np.vdot(spins, graphs) / np.vdot(spins, spins)
    assert abs(scale) == pytest.approx(1, abs=same)
    assert abs(np.angle(scale)) < 0.05
    assert np.linalg.norm(scale * spins - graphs) < 0.01 * np.linalg.norm(graphs)


@pytest.mark.parametrize(
    ("setting", "match"), [({"engine": "x"}, "graphs"), ({"snr": -1}, "snr"), ({"noise_correlation": 1}, "correlation")]
)
def test_bad_settings(paths, brain, setting, match):
    with pytest.raises(ProtocolError, match=match):
        acquire(paths / "epi.seq", brain, **setting)


def test_command_line_loop(paths, tmp_path, capsys):
    seq, scan, out = str(paths / "epi.seq"), str(tmp_path / "scan.dat"), str(tmp_path / "out")
    assert cli.main(["simulate", seq, "--matrix", "24", "--coils", "2", "--snr", "50", "-o", scan]) == 0
    assert "graphs" in capsys.readouterr().out
    assert cli.main(["simulate", seq, "--matrix", "24", "-o", scan]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main(["recon", scan, "--seq", seq, "-o", out]) == 0
    late = ["--gradient-delay", "-0.000001", "0", "2e-6"]
    assert cli.main(["simulate", seq, "--matrix", "24", *late, "-o", str(tmp_path / "scan.h5")]) == 0
    assert cli.main(["recon", str(tmp_path / "scan.h5"), "--seq", seq, "-o", out, "--force"]) == 0
    assert cli.main(["simulate", seq, "--phantom", "bran", "-o", str(tmp_path / "other.dat")]) == 2
    assert "brain" in capsys.readouterr().err
