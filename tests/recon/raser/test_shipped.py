"""The networks that ship, on images that they were not trained with."""

from __future__ import annotations

from dataclasses import replace

from pulsetwin.recon.raser.examples import domain_of, one_example, stacked
from pulsetwin.recon.raser.methods import SHIPPED
from pulsetwin.recon.raser.network_file import load_networks
from pulsetwin.recon.raser.purpose import Purpose
from pulsetwin.recon.raser.train import figures_of


def test_they_mend_images_that_they_have_not_seen():
    """Of four modes in a pixel, where they learnt from two; as well as the networks of Becker et al. 2025 on theirs."""
    networks, training, state = load_networks(SHIPPED)
    assert networks.purpose == Purpose()
    assert not state
    domain = replace(domain_of(networks.purpose), finer=4, pumped=(0.0, 0.0))
    seed = training["seed"] + 31_000_000
    found = figures_of(networks, stacked([one_example(Purpose(), domain, seed, number, 1000.0) for number in range(6)]))
    assert found["mse_both"] < 0.003
    assert found["ssim_both"] > 0.85
    assert found["ssim_both"] > found["ssim_profiles"]


def test_they_are_small():
    assert SHIPPED.stat().st_size < 4e6
