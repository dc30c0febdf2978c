"""Gradient spectra: sinusoids on and off a forbidden band, real EPI against a direct sum, silence and bursts."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.export.acoustics import WINDOW, acoustic_findings, band_peaks
from pulsetwin.export.gradient_samples import gradient_chunks
from pulsetwin.export.playable import check
from pulsetwin.export.siemens_asc import forbidden_bands_from_asc
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*epi*.seq"))
BANDS = ((540.0, 640.0), (1000.0, 1230.0))
PRISMA = dataclasses.replace(Scanner.preset("siemens-prisma"), forbidden_bands=BANDS)
RASTER = 10e-6


def sinusoid(path, frequency, amplitude=20e-3, axis="x", before=20e-3, seconds=0.2):
    """Write a pause and a gradient of one frequency [Hz] and amplitude [T/m], in two blocks."""
    seq = pp.Sequence(made.SYSTEM)
    time = (np.arange(round(seconds / RASTER)) + 0.5) * RASTER
    wave = amplitude * PROTON * np.sin(2 * np.pi * frequency * time)
    seq.add_block(pp.make_delay(before))
    fast = pp.Opts(max_grad=80, grad_unit="mT/m", max_slew=1e5, slew_unit="T/m/s", B0=3.0)
    seq.add_block(pp.make_arbitrary_grad(axis, wave, first=0.0, last=0.0, system=fast))
    return read_seq(made.write(seq, path, "1.5.0"))


@pytest.mark.parametrize("frequency", [545.0, 583.0, 600.0, 1007.0, 1222.0])
@pytest.mark.parametrize("axis", ["x", "z"])
def test_a_sinusoid_on_a_forbidden_frequency_fails(tmp_path, frequency, axis):
    seq = sinusoid(tmp_path / "a.seq", frequency, axis=axis)
    found, peaks = acoustic_findings(seq, PRISMA)
    assert [(finding.rule, finding.severity, finding.block) for finding in found] == [(f"acoustic-{axis}", "error", 2)]
    low, high = BANDS[0] if frequency < 800 else BANDS[1]
    assert f"{low:g} to {high:g} Hz" in found[0].message
    assert found[0].value == pytest.approx(20.0, rel=0.05)
    assert peaks[f"resonance {axis} [mT/m]"] == found[0].value
    assert 20e-3 < found[0].time < 0.22
    strongest = max(band_peaks(seq, BANDS, PROTON, RASTER), key=lambda peak: peak.amplitude)
    assert abs(strongest.frequency - frequency) < 10


@pytest.mark.parametrize("frequency", [300.0, 480.0, 700.0, 800.0, 940.0, 1300.0, 3000.0])
def test_a_sinusoid_off_the_bands_passes(tmp_path, frequency):
    found, peaks = acoustic_findings(sinusoid(tmp_path / "a.seq", frequency), PRISMA)
    assert found == []
    assert peaks["resonance x [mT/m]"] < 20 / 8, "switching on and off shows a little everywhere"
    assert peaks["resonance y [mT/m]"] == 0.0


@pytest.mark.parametrize(("amplitude", "severity"), [(3.5e-3, None), (4.5e-3, "warning"), (9e-3, "error")])
def test_verdict_by_amplitude(tmp_path, amplitude, severity):
    seq = sinusoid(tmp_path / "a.seq", 590.0, amplitude)
    found, _ = acoustic_findings(seq, PRISMA)
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    rules = {finding.rule for finding in check(seq, PRISMA).errors}
    assert ("acoustic-x" in rules) == (severity == "error")


def direct(path, low, high):
    """Return the largest component of Gx in a band [T/m]: windows every 2 ms, lines every 2 Hz, by pypulseq."""
    seq = pp.Sequence(made.SYSTEM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seq.read(str(path), detect_rf_use=True)
    gradient = seq.get_gradients()[0]
    count, width = round(seq.duration()[0] / RASTER), round(WINDOW / RASTER)
    time = (np.arange(count) + 0.5) * RASTER
    wave = np.pad(np.nan_to_num(gradient(time)), width) / PROTON
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    turn = np.exp(-2j * np.pi * np.arange(low, high + 1, 2)[:, None] * RASTER * np.arange(width)) * window
    return max(np.abs(turn @ wave[n : n + width]).max() for n in range(0, len(wave) - width, 200)) * 2 / window.sum()


@pytest.mark.parametrize("path", EXAMPLES[::2], ids=lambda path: path.stem)
def test_real_echo_trains_against_the_direct_sum(path):
    """Windows half a width apart and lines 10 Hz apart miss little of the largest component."""
    for band in BANDS:
        exact = direct(path, *band)
        found = next(p for p in band_peaks(read_seq(path), (band,), PROTON, RASTER) if p.axis == 0)
        assert 0.8 * exact < found.amplitude < 1.01 * exact


def test_the_echo_spacing_of_a_real_scan_is_found():
    """The read gradient of basic_epi repeats after two echoes."""
    path = next(path for path in EXAMPLES if path.stem == "basic_epi_pe_none")
    seq = read_seq(path)
    wave = np.concatenate([wave for _, wave in gradient_chunks(seq, RASTER)], axis=1)[0]
    rising = np.nonzero((wave[:-1] < 0) & (wave[1:] >= 0))[0][5:-5]
    repeat = 1 / (np.median(np.diff(rising)) * RASTER)
    found = check(path, PRISMA).errors
    assert [finding.rule for finding in found] == ["acoustic-x"]
    assert float(found[0].message.split(" at ")[1].split()[0]) == pytest.approx(repeat, abs=10)
    assert check(path, dataclasses.replace(PRISMA, forbidden_bands=())).errors == ()


def test_rotated_gradients_are_judged_where_they_play(tmp_path):
    """A quarter turn about z plays x along y."""
    path = tmp_path / "a.seq"
    seq = sinusoid(path, 590.0)
    half = np.sqrt(0.5)
    turns = dataclasses.replace(
        seq.extensions, labels=((),), rotation=np.array([0]), triggers=((),), soft_delays=((),), shims=((),),
        rotations=np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]]), unknown=((),),
    )  # fmt: skip
    events = seq.events.copy()
    events[1, 5] = 0
    found, _ = acoustic_findings(dataclasses.replace(seq, events=events, extensions=turns), PRISMA)
    assert [finding.rule for finding in found] == ["acoustic-y"]
    turns = dataclasses.replace(turns, rotations=np.array([[[half, -half, 0], [half, half, 0], [0, 0, 1]]]))
    found, _ = acoustic_findings(dataclasses.replace(seq, events=events, extensions=turns), PRISMA)
    assert [finding.value for finding in found] == pytest.approx(2 * [20 * half], rel=0.05)


@pytest.mark.parametrize("before", [0.0, 0.013, 0.05, 1.234, 7.0])
def test_bursts_are_seen_wherever_they_are(tmp_path, before):
    """40 ms of a sinusoid after any pause, at the start or after seconds, show at least 0.6 of its amplitude."""
    seq = sinusoid(tmp_path / "a.seq", 590.0, before=max(before, RASTER), seconds=0.04)
    found, peaks = acoustic_findings(seq, PRISMA)
    assert 12 < peaks["resonance x [mT/m]"] < 20.1
    assert found[0].severity == "error"
    assert abs(found[0].time - before - 0.02) < 0.03


def test_no_bands_no_verdict_and_no_gradients_no_component(tmp_path):
    seq = sinusoid(tmp_path / "a.seq", 590.0, seconds=0.02)
    assert acoustic_findings(seq, Scanner.preset("siemens-prisma")) == ([], {})
    path = tmp_path / "b.seq"
    path.write_text(made.text("1.5.1", "1 100 0 0 0 0 0 0\n"))
    assert set(acoustic_findings(read_seq(path), PRISMA)[1].values()) == {0.0}


def test_bands_beyond_the_raster_are_refused(tmp_path):
    seq = sinusoid(tmp_path / "a.seq", 590.0, seconds=0.02)
    with pytest.raises(ProtocolError, match="60000 Hz"):
        band_peaks(seq, ((59000.0, 60000.0),), PROTON, RASTER)


@pytest.mark.parametrize("prefix", ["aflGC", "asGPAParameters[0].sGCParameters.afl"])
def test_resonances_of_a_siemens_file(tmp_path, prefix):
    path = tmp_path / "a.asc"
    lines = [
        f"{prefix}AcousticResonance{name}[{n}] = {value}"
        for name, values in (("Frequency", (590, 1140.5, 0)), ("Bandwidth", (100, 220, 0)))
        for n, value in enumerate(values)
    ]
    path.write_text("\n".join(lines) + "\n")
    assert forbidden_bands_from_asc(path) == ((540.0, 640.0), (1030.5, 1250.5))
    path.write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(FileError, match="Bandwidth"):
        forbidden_bands_from_asc(path)
    path.write_text("other = 1\n")
    with pytest.raises(FileError, match="no acoustic resonances"):
        forbidden_bands_from_asc(path)
