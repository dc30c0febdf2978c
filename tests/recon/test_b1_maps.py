"""Maps of the transmit field from images that a loop over repetitions makes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.recon.b1 import RANGE, TISSUE_T1, map_b1
from pulsetwin.volume import Images

B1 = np.linspace(0.3, 1.6, 40).reshape(1, 5, 8)
AFI = {"TR1": 0.02, "TR2": 0.1, "Protocol_flip_angle": math.radians(60)}
TURBO_FLASH = {"PreparationDelay": 0.012, "Protocol_preparation": math.radians(80)}


def images(first: np.ndarray, second: np.ndarray, phase: float = 1.1) -> Images:
    return Images(np.stack((first, second)) * np.exp(1j * phase), np.eye(4), ({"SET": 0}, {"SET": 1}))


def afi(t1: float) -> Images:
    """Return what pairs of repetitions show once they repeat themselves."""
    z, signals = np.ones_like(B1), [B1, B1]
    for _ in range(2000):
        for which, name in enumerate(("TR1", "TR2")):
            angle = AFI["Protocol_flip_angle"] * B1
            signals[which] = z * np.sin(angle)
            z = 1 + (z * np.cos(angle) - 1) * np.exp(-AFI[name] / t1)
    return images(*signals)


def turbo_flash(t1: float = TISSUE_T1) -> Images:
    left = np.exp(-TURBO_FLASH["PreparationDelay"] / t1)
    reference = np.sin(0.1 * B1)
    prepared = 1 + (np.cos(TURBO_FLASH["Protocol_preparation"] * B1) - 1) * left
    return images(reference, reference * prepared)


def test_afi_finds_the_field_of_tissue_and_water():
    # of the times being short beside T1: the loop knows them as they are
    for t1, tolerance in ((0.85, 0.015), (1.4, 0.01), (4.0, 0.005), (400.0, 1e-4)):
        found = map_b1(afi(t1), AFI)["B1"]
        assert found.valid.all()
        assert np.abs(found.values - B1)[B1 > 0.5].max() < tolerance


def test_turbo_flash_accounts_for_recovery_and_for_signs():
    maps = map_b1(turbo_flash(), TURBO_FLASH)
    assert np.abs(maps["B1"].values - B1).max() < 1e-5
    assert np.abs(map_b1(turbo_flash(0.8), TURBO_FLASH)["B1"].values - B1)[B1 > 0.6].max() < 0.01
    assert any(f"T1 of {TISSUE_T1} s" in sentence for sentence in maps.warnings)
    scan = turbo_flash()
    magnitudes = map_b1(dataclasses.replace(scan, values=np.abs(scan.values)), TURBO_FLASH)
    low = B1 < 1.1
    assert np.abs(magnitudes["B1"].values - B1)[low].max() < 1e-5
    assert np.abs(magnitudes["B1"].values - B1)[B1 > 1.3].min() > 0.1
    assert any("above 1.12" in sentence for sentence in magnitudes.warnings)


def test_integers_do_not_overflow_and_labels_give_the_order():
    scan = afi(4.0)
    integers = np.round(np.abs(scan.values) / np.abs(scan.values).max() * 32000).astype(np.int16)
    found = map_b1(dataclasses.replace(scan, values=integers), AFI)["B1"].values
    low = B1 * 60 < 95  # beyond, the second image is negative
    assert np.abs(found - B1)[low & (B1 > 0.5)].max() < 0.01
    swapped = dataclasses.replace(scan, values=scan.values[::-1], contrasts=scan.contrasts[::-1])
    assert np.array_equal(map_b1(swapped, AFI)["B1"].values, map_b1(scan, AFI)["B1"].values)


def test_what_is_clipped_or_without_solution_is_said():
    scan = afi(4.0)
    values = scan.values.copy()
    values[1, 0, 0, :4] = 1.5 * values[0, 0, 0, :4]  # a ratio above 1: noise
    values[:, 0, 1] = 0
    values[:, 0, 2, 0] = np.nan
    maps = map_b1(dataclasses.replace(scan, values=values), {**AFI, "Protocol_flip_angle": math.radians(20)})
    found = maps["B1"]
    assert not found.valid[0, 0, :4].any()
    assert not found.valid[0, 1].any()
    assert not found.valid[0, 2, 0]
    assert not found.values[~found.valid].any()
    assert found.values.max() == RANGE[1]
    said = " ".join(maps.warnings)
    assert "clipped to 0.2 to 2" in said
    assert "no flip angle" in said


def test_wrong_input_is_refused():
    scan = afi(1.4)
    with pytest.raises(ShapeError, match="1 images: give 2"):
        map_b1(Images(scan.values[:1], np.eye(4), ({},)), AFI)
    with pytest.raises(MismatchError, match="SET 0, the brighter, first"):
        map_b1(dataclasses.replace(scan, values=scan.values[::-1]), AFI)
    with pytest.raises(ProtocolError, match="no AFI"):
        map_b1(scan, {"TR": 1.0})
    with pytest.raises(ProtocolError, match="does not define Protocol_flip_angle"):
        map_b1(scan, {"TR1": 0.02, "TR2": 0.1})
    with pytest.raises(MismatchError, match="no voxel has a signal"):
        map_b1(dataclasses.replace(scan, values=0 * scan.values), AFI)
