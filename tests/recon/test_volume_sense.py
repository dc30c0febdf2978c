"""Undersampled volumes by the whole road: several contrasts, lines in any number, calibration within or apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.sequences.orderings import poisson_mask
from tests.synthetic import FOV, cartesian_positions, coil_maps, ellipses, nrmse, scan, signal

SHAPE, COILS = (20, 24, 24), 6


@pytest.fixture(scope="module")
def volume():
    """A full scan of two contrasts, and the mask of its lines that are kept, ``[z, y]``."""
    positions = cartesian_positions(SHAPE)
    samples = signal(ellipses(SHAPE), coil_maps(COILS, SHAPE), positions, FOV)
    noise = np.random.default_rng(3).standard_normal((COILS, 4000, 2)).view(complex)[..., 0] * 1e-4
    labels = {"ECO": np.repeat([0, 1], len(samples))}
    both = np.concatenate([samples, -0.5 * samples]), np.concatenate([positions] * 2)
    return scan(*both, SHAPE, labels=labels, noise=noise), poisson_mask(SHAPE[:2], 2.5, calibration=(12, 12), seed=1)


def kept(raw, *masks):
    keep = np.concatenate([mask.ravel() for mask in masks])
    return replace(raw, groups=(raw.groups[0].select(keep),))


def body(image):
    return np.where(np.abs(ellipses(SHAPE)) > 0, np.abs(image), 0)


def test_contrasts_with_missing_lines(volume):
    raw, mask = volume
    full = reconstruct(raw)
    images = reconstruct(kept(raw, mask, mask))
    assert images.values.shape == (2, *SHAPE)
    assert any("CG-SENSE" in warning for warning in images.warnings)
    assert nrmse(body(images.values[0]), body(full.values[0])) < 0.06
    ratio = np.vdot(images.values[0], images.values[1]) / np.vdot(images.values[0], images.values[0])
    assert ratio == pytest.approx(-0.5, abs=0.01)  # one phase for all contrasts: signs are kept


def test_contrasts_may_miss_different_lines_and_borrow_the_centre(volume):
    raw, mask = volume
    other = mask.copy()
    other[SHAPE[0] // 2 - 2 : SHAPE[0] // 2 + 2 : 2, ::2] = False  # no calibration of its own
    images, full = reconstruct(kept(raw, mask, other)), reconstruct(raw)
    assert nrmse(body(images.values[1]), body(full.values[1])) < 0.12


def test_compressed_coils(volume):
    raw, mask = volume
    few, all_ = (reconstruct(kept(raw, mask, mask), coils=coils) for coils in (5, None))
    assert nrmse(np.abs(few.values[0]), np.abs(all_.values[0])) < 0.05


def test_without_a_centre_it_is_refused(volume):
    raw, _ = volume
    mask = np.zeros(SHAPE[:2], bool)
    mask[::2, ::2] = True
    with pytest.raises(ProtocolError, match="reference lines"):
        reconstruct(kept(raw, mask, mask))
