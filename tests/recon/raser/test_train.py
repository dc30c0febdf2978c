"""Training: its pool, symmetric images, loss, figures, and that an interrupt does no harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.recon.agreement import ssim_uniform
from pulsetwin.recon.raser import train as training
from pulsetwin.recon.raser.examples import Examples, Pool, domain_of, one_example, stacked
from pulsetwin.recon.raser.features import CHANNELS
from pulsetwin.recon.raser.network import new_networks, projector
from pulsetwin.recon.raser.network_file import load_networks
from pulsetwin.recon.raser.symmetry import averaged, turned_features, turned_images, turned_sinograms
from pulsetwin.recon.raser.train import Training, train
from tests.recon.raser.small_networks import PURPOSE

SHORT = Training(steps=4, batch=2, fresh=1, every=2, held_out=2)


@pytest.mark.parametrize("half_turn", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_images_have_turned_features(half_turn, mirrored):
    """Profiles by least squares come as near to the turned image's projections as before."""
    examples = stacked([one_example(PURPOSE, domain_of(PURPOSE), 1, number, 1000.0) for number in range(3)])
    areas = projector(PURPOSE)

    def errors(seen, images):
        wanted = (images.flatten(1) @ areas.T).view(3, PURPOSE.angles, PURPOSE.modes)
        return (seen[:, :, 0] - wanted / wanted.mean(2, keepdim=True)).square().mean((1, 2))

    way = half_turn, mirrored
    after = Examples(turned_features(examples.seen, *way), turned_images(examples.images, *way))
    assert torch.allclose(errors(*after), errors(*examples), rtol=1e-4)
    assert torch.equal(turned_features(after.seen, *way), examples.seen)


def test_means_over_turned_objects_are_symmetric():
    networks = new_networks(PURPOSE)
    seen = torch.randn(2, PURPOSE.angles, CHANNELS, PURPOSE.modes, generator=torch.Generator().manual_seed(0))
    for way in ((True, False), (False, True)):
        sinograms, images = averaged(networks, seen)
        others, turned = averaged(networks, turned_features(seen, *way))
        assert (turned_sinograms(sinograms, *way) - others).abs().max() < 1e-5
        assert (turned_images(images, *way) - turned).abs().max() < 1e-5


def test_a_pool_is_of_its_seed_and_renews_itself():
    pools = [Pool(PURPOSE, seed, size=3) for seed in (4, 4, 5)]
    for pool in pools:
        pool.play(3)
    first, same, other = (pool.batch(8).images for pool in pools)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    before = {one.sum().item() for one in first}
    pools[0].play(3)
    assert pools[0].played == 6
    assert not before & {one.sum().item() for one in pools[0].batch(8).images}


def test_similarity_is_that_of_the_figures():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 20, 20))
    other[0, 0], other[0, 1] = 0, 1
    found = training._similarity(*(torch.from_numpy(image)[None] for image in (one, other))).item()
    assert abs(found - ssim_uniform(one, other)) < 0.02  # variances of samples there, of windows here


@pytest.mark.slow
def test_what_is_held_out_improves(tmp_path):
    told = []
    train(tmp_path / "a.safetensors", PURPOSE, Training(steps=16, batch=6, every=8, held_out=4),
          tell=lambda step, figures: told.append((step, figures)))  # fmt: skip
    (first, early), (last, late) = told
    assert (first, last) == (8, 16)
    assert late["mse_both"] < early["mse_both"]


def test_a_training_goes_on_after_an_interrupt(tmp_path):
    path = tmp_path / "a.safetensors"

    def interrupt(done, total, what):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(path, PURPOSE, SHORT, progress=interrupt)
    _, told, state = load_networks(path)
    assert told["steps"] == 2
    assert any(name.startswith("exp_avg_sq.") for name in state)
    with pytest.raises(MismatchError, match="2 of 2 steps already"):
        train(path, PURPOSE, replace(SHORT, steps=2), resume=True)
    for change in ({"seed": 1}, {"batch": 3}, {"fresh": 2}, {"rate": 1e-3}):
        with pytest.raises(
            MismatchError, match=r"seed 0, batch 2, fresh 1, rate 0\.002: resume with the same settings"
        ):
            train(path, PURPOSE, replace(SHORT, **change), resume=True)
    train(path, PURPOSE, SHORT, resume=True)
    _, told, state = load_networks(path)
    assert (told["steps"], told["seed"], told["fresh"], state) == (4, 0, 1, {})
    assert told["parts"] == [[0, 4], [2, 4]]
    with pytest.raises(MismatchError, match="over after 4 steps"):
        train(path, PURPOSE, SHORT, resume=True)


def test_equal_seeds_give_equal_networks(tmp_path):
    digests = []
    for seed in (0, 0, 1):
        path = tmp_path / f"{len(digests)}.safetensors"
        networks = train(path, PURPOSE, Training(steps=2, batch=2, every=2, held_out=1, seed=seed))
        digests.append(float(sum(one.detach().double().sum() for one in networks.modules.parameters())))
    assert digests[0] == digests[1] != digests[2]


def test_settings_are_checked():
    with pytest.raises(ProtocolError, match="above 0"):
        Training(steps=0)
    for seed in (-1, 1 << 31, 10**22):
        with pytest.raises(ProtocolError, match="seed"):
            Training(seed=seed)
