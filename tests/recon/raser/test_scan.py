"""RASER scans of the twin: projections on one grid, and what is wrong with some."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.raser.scan import bridged, projections_of
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import raser
from pulsetwin.sim.phantoms import tube
from pulsetwin.sim.raser.scan import acquire_raser

FOV = (3e-3, 3e-3, 1e-2)


def sequence(scanner: str = "magritek-spinsolve-60", **settings) -> pp.Sequence:
    protocol = {"fov": FOV, "matrix": (16, 16, 1), "angles": 8, "samples": 2048, "dwell": 2e-3, "pumping": 0.1}
    return raser.build(raser.Protocol(**(protocol | settings)), Scanner.preset(scanner))


@pytest.fixture(scope="module")
def raw() -> RawData:
    return acquire_raser(sequence(samples=1024), tube((1, 16, 16), FOV))


def stating(raw: RawData, **said) -> RawData:
    return replace(raw, definitions={**raw.definitions, **said})


def test_gaps_between_acquisitions_are_bridged():
    given = {"angles": 2, "samples": 32768, "dwell": 500e-6}
    phantom = tube((1, 16, 16), FOV)
    parts = acquire_raser(sequence("siemens-prisma", **given), phantom, seed=1)
    whole = bridged(acquire_raser(sequence(**given), phantom, seed=1), 2, 0)
    found = bridged(parts, 2, int(parts.definitions["RaserGap"]))
    assert np.abs(found[:, : whole.shape[1]] - whole).max() < 1e-4 * np.abs(whole).max()


def test_what_the_sequence_states_is_told(raw):
    found = projections_of(raw, 1.5)
    assert found.signal.shape == (8, 750)
    assert found.stated.matrix == (16, 16)
    assert np.allclose(found.stated.angles, np.pi * np.arange(8) / 8)
    assert abs(found.stated.bandwidth / (42.577478e6 * 26e-6 * 3e-3 / 16) - 1) < 1e-6


def test_missing_projections_are_told(raw):
    with pytest.raises(MismatchError, match="missing or double"):
        projections_of(stating(raw, RaserAngles=np.pi * np.arange(9) / 9))
    (group,) = raw.groups
    double = replace(group, labels={**group.labels, "LIN": np.maximum(group.label("LIN"), 1)})
    with pytest.raises(MismatchError, match="missing or double"):
        projections_of(replace(raw, groups=(double,)))
    labels = {"LIN": np.repeat(np.arange(4), 2), "SEG": np.array([0, 0, 1, 1, 0, 1, 0, 1])}
    twice = replace(group, labels={**group.labels, **labels})
    with pytest.raises(MismatchError, match="missing or double"):
        bridged(replace(raw, groups=(twice,)), 4, 0)


def test_projections_of_several_lengths_are_told(raw):
    with pytest.raises(MismatchError, match="several lengths"):
        projections_of(replace(raw, groups=raw.groups * 2))


def test_missing_angles_are_told(raw):
    with pytest.raises(MismatchError, match="RaserAngles"):
        projections_of(replace(raw, definitions={}))
    with pytest.raises(ProtocolError, match="finite"):
        projections_of(stating(raw, RaserAngles="uniform"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"RaserAngles": 22.5 * np.arange(8)}, "in rad"),
        ({"RaserGradient": 26.0}, "m, T/m and s"),
        ({"FOV": [3.0, 3.0, 10.0]}, "m, T/m and s"),
        ({"RaserDwell": 2000.0}, "m, T/m and s"),
        ({"RaserGradient": 0.0}, "anew"),
        ({"RaserGradient": -26e-6}, "anew"),
        ({"RaserGap": -3}, "RaserGap -3"),
        ({"FOV": [3e-3, 4e-3, 1e-2]}, "square"),
    ],
)
def test_other_units_and_impossible_numbers_are_told(raw, said, words):
    with pytest.raises(ProtocolError, match=words):
        projections_of(stating(raw, **said))


@pytest.mark.parametrize("coils", [1, 2])
@pytest.mark.parametrize(("segments", "gap"), [(1, 0), (2, 3)])
def test_samples_that_are_no_numbers_are_told(raw, coils, segments, gap):
    """By the angle that they are of, before coils are combined and gaps bridged."""
    (group,) = raw.groups
    samples = np.repeat(np.array(group.samples[:]), coils, axis=1)
    samples[5, 0, 7] = np.nan
    labels = {"LIN": np.arange(8) // segments, "SEG": np.arange(8) % segments}
    broken = replace(raw, groups=(replace(group, samples=samples, labels={**group.labels, **labels}),))
    with pytest.raises(ProtocolError, match=f"projection {5 // segments} "):
        bridged(broken, 8 // segments, gap)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), 1e-9])
def test_a_time_of_nothing_is_told(raw, seconds):
    with pytest.raises(ProtocolError, match="seconds"):
        projections_of(raw, seconds)
