"""RASER scans of the twin: projections on one grid, and the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import MismatchError
from pulsetwin.rawdata import Geometry
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.scan import invert_scan, is_raser_scan, projections
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import raser
from pulsetwin.sim.phantoms import tube
from pulsetwin.sim.raser.scan import acquire_raser
from pulsetwin.volume import affine_ras

FOV = (3e-3, 3e-3, 1e-2)


def sequence(scanner: str = "magritek-spinsolve-60", **settings) -> pp.Sequence:
    protocol = {"fov": FOV, "matrix": (16, 16, 1), "angles": 8, "samples": 2048, "dwell": 2e-3, "pumping": 0.1}
    return raser.build(raser.Protocol(**(protocol | settings)), Scanner.preset(scanner))


@pytest.mark.slow
def test_a_tube_is_seen_where_it_is():
    """Centre of gravity of the simulated density, to a tenth of a voxel: no mirror, no shift by half a voxel."""
    phantom = tube((1, 64, 64), FOV)
    raw = acquire_raser(sequence(angles=16), phantom, snr=1000.0)
    images = invert_scan(raw, parameters=Parameters(5.0, 0.7, 1.0))
    assert is_raser_scan(raw)
    assert 0.8 < images.quality["chi_squared"] < 1.2

    def middle(values, affine):
        z, y, x = np.meshgrid(*map(np.arange, values.shape), indexing="ij")
        weights = values.ravel() / values.sum()
        return (affine @ [weights @ x.ravel(), weights @ y.ravel(), weights @ z.ravel(), 1])[:2]

    density = phantom.proton_density.sum(0).numpy()[None]
    where = Geometry(FOV, (64, 64, 1), np.eye(3), np.zeros((1, 3)))
    wanted = middle(density, affine_ras(where, (64, 64, 1)))
    found = middle(np.abs(images.values[0]), images.affine)
    assert np.abs(found - wanted).max() < 0.1 * 1e3 * FOV[0] / 16


def test_gaps_between_acquisitions_are_bridged():
    given = {"angles": 2, "samples": 32768, "dwell": 500e-6}
    phantom = tube((1, 16, 16), FOV)
    whole = projections(acquire_raser(sequence(**given), phantom, seed=1), 2)
    parts = projections(acquire_raser(sequence("siemens-prisma", **given), phantom, seed=1), 2)
    assert np.abs(parts[:, : whole.shape[1]] - whole).max() < 1e-4 * np.abs(whole).max()


def test_missing_projections_are_told():
    raw = acquire_raser(sequence(samples=1024), tube((1, 16, 16), FOV))
    with pytest.raises(MismatchError, match="missing or double"):
        projections(raw, 9)
    with pytest.raises(MismatchError, match="RaserAngles"):
        invert_scan(replace(raw, definitions={}))
