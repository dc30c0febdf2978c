"""Sampled gradients: what is left out of long silence and long constant gradients changes nothing."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.export import gradient_samples
from pulsetwin.export.acoustics import band_peaks, largest_spectrum
from pulsetwin.export.gradient_samples import gradient_chunks
from pulsetwin.export.nerve_stimulation import EXAMPLE_AXES, nerve_peak, stimulation
from pulsetwin.export.safety_figures import gradient_envelope
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import EXT, read_seq
from tests.sequences import made

RASTER = 10e-6
BANDS = ((540.0, 640.0), (1000.0, 1230.0))


def plateaus():
    """Return pauses and constant gradients of some 0.1 s, alone, together, delayed, and across blocks."""
    seq = pp.Sequence(made.SYSTEM)
    long = [
        pp.make_trapezoid(axis, amplitude=amplitude, rise_time=3e-4, flat_time=flat, delay=delay, system=made.SYSTEM)
        for axis, amplitude, flat, delay in (("x", 4e5, 0.15, 0.0), ("y", -3e5, 0.4, 0.0), ("z", 2e5, 1e-3, 0.2))
    ]
    rising = pp.make_extended_trapezoid("x", times=[0, 2e-4, 0.12], amplitudes=[0, 5e5, 5e5], system=made.SYSTEM)
    falling = pp.make_extended_trapezoid("x", times=[0, 0.11, 0.1103], amplitudes=[5e5, 5e5, 0], system=made.SYSTEM)
    short = pp.make_trapezoid("z", area=500, system=made.SYSTEM)
    for events in (
        [pp.make_delay(0.3)], long[:1], long, [long[2]], [rising], [falling], [short],
        [pp.make_delay(0.09)], [short], [pp.make_delay(0.5)], [short], [pp.make_delay(0.2)],
    ):  # fmt: skip
        seq.add_block(*events)
    return seq


TURN = np.array([[np.sqrt(0.75), -0.5, 0], [0.5, np.sqrt(0.75), 0], [0, 0, 1]])


def turned(seq):
    """Return a sequence with all blocks turned by 30 degrees about z."""
    extensions = dataclasses.replace(
        seq.extensions, labels=((),), rotation=np.array([0]), triggers=((),), soft_delays=((),), shims=((),),
        rotations=TURN[None], unknown=((),),
    )  # fmt: skip
    events = seq.events.copy()
    events[:, EXT] = 0
    return dataclasses.replace(seq, events=events, extensions=extensions)


@pytest.fixture(scope="module", params=["1.4.1", "1.5.0", "turned"])
def played(tmp_path_factory, request):
    """Return the plateaus as read by us and by pypulseq, and their rotation."""
    rotates = request.param == "turned"
    path = made.write(plateaus(), tmp_path_factory.mktemp("samples") / "a.seq", "1.5.0" if rotates else request.param)
    theirs = pp.Sequence(made.SYSTEM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.read(str(path), detect_rf_use=True)
    return (turned(read_seq(path)), theirs, TURN) if rotates else (read_seq(path), theirs, np.eye(3))


@pytest.fixture
def seq(played):
    return played[0]


def filled(seq, length=gradient_samples.CHUNK):
    """Return all samples [Hz/m], ``[3, sample]``, those between chunks as the last before them; and how many came."""
    whole, last, expected, came = np.zeros((3, round(seq.duration / RASTER))), np.zeros((3, 1)), 0, 0
    for first, part in gradient_chunks(seq, RASTER, length):
        assert first >= expected
        whole[:, expected:first] = last
        expected, last, came = first + part.shape[1], part[:, -1:], came + part.shape[1]
        whole[:, first:expected] = part
    return whole, came


@pytest.mark.parametrize("length", [999, 2**16])
def test_what_is_left_out_equals_the_sample_before(played, length):
    seq, theirs, turn = played
    whole, came = filled(seq, length)
    assert came < whole.shape[1] / 3
    time = (np.arange(whole.shape[1]) + 0.5) * RASTER
    expected = turn @ [np.nan_to_num(wave(time)) for wave in theirs.get_gradients()]
    np.testing.assert_allclose(whole, expected, atol=0.5)


def test_the_report_is_the_same_as_without_leaving_out(seq, monkeypatch):
    scanner = Scanner.preset("siemens-prisma")

    def found():
        peaks = band_peaks(seq, BANDS, PROTON, RASTER)
        nerves = nerve_peak(seq, scanner)
        return (
            [nerves.percent, *nerves.axes, nerves.block, nerves.time],
            [[peak.axis, peak.amplitude, peak.frequency, peak.time] for peak in peaks],
            largest_spectrum(seq, 3000.0, PROTON, RASTER)[1],
            np.concatenate(gradient_envelope(seq, RASTER, 777)[1:]),
        )

    skipping = found()
    monkeypatch.setattr(gradient_samples, "_STEADY", 2**60)
    for value, expected in zip(skipping, found(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_the_stimulation_fades_over_what_is_left_out(seq, monkeypatch):
    pieces = list(stimulation(seq, EXAMPLE_AXES, PROTON, RASTER))
    monkeypatch.setattr(gradient_samples, "_STEADY", 2**60)
    whole = np.hstack([percent for _, percent in stimulation(seq, EXAMPLE_AXES, PROTON, RASTER)])
    for first, percent in pieces:
        expected = whole[:, first : first + percent.shape[1]]
        np.testing.assert_allclose(percent, expected, atol=1e-9 * whole.max())
