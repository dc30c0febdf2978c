"""Nerve stimulation: equal to pypulseq's, whatever the chunks; verdicts; Siemens files."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest
from pypulseq.utils.safe_pns_prediction import safe_example_hw
from pypulseq.utils.siemens.asc_to_hw import asc_to_hw
from pypulseq.utils.siemens.readasc import readasc

from pulsetwin.errors import FileError
from pulsetwin.export.gradient_samples import gradient_chunks
from pulsetwin.export.nerve_stimulation import EXAMPLE_AXES, nerve_findings, nerve_peak, stimulation
from pulsetwin.export.playable import check
from pulsetwin.export.siemens_asc import safe_axes_from_asc
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*epi*.seq"))
PRISMA = dataclasses.replace(Scanner.preset("siemens-prisma"), pns=EXAMPLE_AXES)
RASTER = 10e-6


def played(seq, chunk=2**16):
    """Return the stimulation of the whole sequence, ``[3, sample]``, zero where it was left out."""
    whole = np.zeros((3, round(seq.duration / RASTER)))
    for first, percent in stimulation(seq, EXAMPLE_AXES, PROTON, RASTER, chunk):
        whole[:, first : first + percent.shape[1]] = percent
    return whole


def by_pypulseq(path, old=False):
    seq = pp.Sequence(made.SYSTEM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seq.read(str(path), detect_rf_use=old)
        _, norm, axes, _ = seq.calculate_pns(safe_example_hw(), do_plots=False)
    return 100 * norm, 100 * axes.T


def loud(ramp="50"):
    """Return a hand-written sequence of one trapezoid a block: 0.5 ms of silence, then 1 MHz/m in 50 us."""
    return made.text("1.5.1", "1 50 0 0 0 0 0 0\n2 110 0 1 0 0 0 0\n", trap=f"1 1000000 {ramp} 900 {ramp} 0\n")


@pytest.mark.parametrize("make", [made.spin_echo, made.spiral, lambda: made.gradient_echo(4, 2)])
def test_equal_to_pypulseq_on_what_it_makes(tmp_path, make):
    path = made.write(make(), tmp_path / "a.seq", "1.5.0")
    norm, axes = by_pypulseq(path)
    ours = played(read_seq(path))
    np.testing.assert_allclose(ours[:, : axes.shape[1]], axes, atol=1e-6 * norm.max())
    assert nerve_peak(read_seq(path), PRISMA).percent == pytest.approx(norm.max(), rel=1e-6)
    older = read_seq(made.write(make(), tmp_path / "b.seq", "1.4.1"))
    np.testing.assert_allclose(played(older), ours, atol=1e-5 * norm.max())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_equal_to_pypulseq_on_real_scans(path):
    norm, axes = by_pypulseq(path, old=True)
    ours = played(read_seq(path))[:, : axes.shape[1]]
    np.testing.assert_allclose(ours, axes, atol=1e-6 * norm.max())


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_do_not_change_it(tmp_path, chunk):
    seq = read_seq(made.write(made.spiral(2), tmp_path / "a.seq", "1.5.0"))
    pieces = list(stimulation(seq, EXAMPLE_AXES, PROTON, RASTER, chunk))
    number = np.concatenate([first + np.arange(percent.shape[1]) for first, percent in pieces])
    assert np.all(np.diff(number) > 0)
    assert len(number) > 800
    np.testing.assert_allclose(np.hstack([percent for _, percent in pieces]), played(seq)[:, number], atol=1e-10)


def test_long_silence_is_left_out_and_the_decay_goes_on(tmp_path):
    """Two trapezoids 90 ms apart: most samples between them are left out, and the rest is unchanged."""
    path = tmp_path / "a.seq"
    trap = "1 1000000 50 900 50 0\n"
    path.write_text(made.text("1.5.1", "1 100 0 1 0 0 0 0\n2 9000 0 0 0 0 0 0\n3 100 0 1 0 0 0 0\n", trap=trap))
    seq = read_seq(path)
    samples = sum(wave.shape[1] for _, wave in gradient_chunks(seq, RASTER))
    assert samples == 200 + 2048
    _, axes = by_pypulseq(path)
    ours = played(seq)
    shown = np.r_[0 : 100 + 2048, 9100:9200]
    np.testing.assert_allclose(ours[:, shown], axes[:, shown], atol=1e-6 * axes.max())


def test_a_short_ramp_by_hand(tmp_path):
    """A slew rate held for n samples, half of it in the first, charges each filter by ``1 - d^(n-1) (1 - (1-d)/2)``."""
    path = tmp_path / "a.seq"
    path.write_text(loud())
    tau, weight = np.array(EXAMPLE_AXES[0].tau), np.array(EXAMPLE_AXES[0].weight)
    decay = tau / (tau + RASTER)
    charge = np.sum(weight * (1 - decay**3 * (1 - 0.5 * (1 - decay))))
    assert played(read_seq(path))[0, 53] == pytest.approx(100 * 0.35 / 30.0 * 1e6 / 50e-6 / PROTON * charge)


def test_rotated_gradients_are_played_rotated(tmp_path):
    """A quarter turn about z plays x along y."""
    half = np.sqrt(0.5)
    extensions = f"1 1 1 0\n\nextension ROTATIONS 1\n1 {half} 0 0 {half}\n"
    trap = "1 1000000 50 900 50 0\n"
    turned, straight = tmp_path / "turned.seq", tmp_path / "straight.seq"
    turned.write_text(made.text("1.5.1", "1 110 0 1 0 0 0 1\n", trap=trap, extensions=extensions))
    straight.write_text(made.text("1.5.1", "1 110 0 0 1 0 0 0\n", trap=trap))
    np.testing.assert_allclose(played(read_seq(turned)), played(read_seq(straight)), atol=1e-9)


def test_a_gradient_left_on_does_not_leak_into_later_blocks(tmp_path):
    """Its last value drops to zero at the block's end, as the scanner cannot join what is not played."""
    path = tmp_path / "a.seq"
    shapes = "shape_id 1\nnum_samples 2\n1\n1\n\nshape_id 2\nnum_samples 2\n0\n100\n"
    path.write_text(
        made.text(
            "1.5.1", "1 100 0 1 0 0 0 0\n2 300 0 0 0 0 0 0\n3 100 0 1 0 0 0 0\n",
            gradients="1 400000 400000 400000 1 2 0\n", shapes=shapes,
        )
    )  # fmt: skip
    wave = np.concatenate([wave for _, wave in gradient_chunks(read_seq(path), RASTER)], axis=1)[0]
    np.testing.assert_allclose(wave, np.r_[np.full(100, 4e5), np.zeros(300), np.full(100, 4e5)])


def scaled(factor):
    axes = [dataclasses.replace(axis, stimulation_limit=axis.stimulation_limit / factor) for axis in EXAMPLE_AXES]
    return dataclasses.replace(PRISMA, pns=tuple(axes))


@pytest.mark.parametrize(
    ("percent", "severity"), [(79.9, None), (80.1, "warning"), (99.9, "warning"), (100.1, "error")]
)
def test_verdict(tmp_path, percent, severity):
    path = tmp_path / "a.seq"
    path.write_text(loud())
    seq = read_seq(path)
    scanner = scaled(percent / nerve_peak(seq, PRISMA).percent)
    found, peaks = nerve_findings(seq, scanner)
    assert peaks["PNS [%]"] == pytest.approx(percent)
    assert peaks["PNS block"] == 2
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    if severity:
        assert (found[0].rule, found[0].block) == ("pns", 2)
        assert 0.5e-3 < found[0].time < 1.6e-3
        assert found[0].value == pytest.approx(percent)
    assert any(finding.rule == "pns" for finding in check(seq, scanner).errors) == (severity == "error")


def test_example_coefficients_are_labelled_and_forbid_nothing():
    path = next(path for path in EXAMPLES if path.stem == "ramp_epi_pe_plus")
    report = check(path, Scanner.preset("siemens-prisma"))
    assert report.peaks["PNS (example coefficients) [%]"] > 100
    assert report.playable
    assert any("example coefficients" in finding.message for finding in report.warnings)


@pytest.mark.parametrize("name", ["bruker-biospec-94", "magritek-spinsolve-60"])
def test_scanners_of_animals_and_bench_tops_are_judged_by_coefficients_of_their_own_only(name):
    path = next(path for path in EXAMPLES if path.stem == "ramp_epi_pe_plus")
    scanner = Scanner.preset(name)
    report = check(path, scanner)
    assert not [peak for peak in report.peaks if peak.startswith("PNS")]
    told = [finding for finding in (*report.kept, *report.findings) if finding.rule == "pns"]
    assert [(finding.severity, "not judged" in finding.message) for finding in told] == [("told", True)]
    stated = check(path, dataclasses.replace(scanner, pns=EXAMPLE_AXES))
    assert stated.peaks["PNS [%]"] > 100
    assert [finding.rule for finding in stated.findings if finding.rule == "pns"]


def test_nothing_played_stimulates_nothing(tmp_path):
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.1", "1 100 0 0 0 0 0 0\n"))
    assert nerve_findings(read_seq(path), PRISMA) == ([], {"PNS [%]": 0.0, "PNS time [s]": 0.0, "PNS block": 1.0})


def asc(prefix="", scale=True):
    """Return a file with the numbers of the example hardware."""
    lines = ['asCOMP.tName = "MP_GPA_EXAMPLE"', "### ASCCONV BEGIN ###"]
    for name, axis in zip("XYZ", EXAMPLE_AXES, strict=True):
        for n in range(3):
            lines += [
                f"{prefix}flGSWDTau{name}[{n}] = {1e3 * axis.tau[n]:g} # ms",
                f"{prefix}flGSWDA{name}[{n}]  =  {axis.weight[n]:g}",
            ]
        lines.append(f"{prefix}flGSWDStimulationLimit{name} = {axis.stimulation_limit}")
        lines.append(f"{prefix}flGSWDStimulationThreshold{name} = {0.8 * axis.stimulation_limit:g}")
        if scale:
            lines.append(f"asGPAParameters[0].sGCParameters.flGScaleFactor{name} = {axis.gradient_scale}")
    return "\n".join([*lines, "### ASCCONV END ###", "flGSWDTauX[0] = 99"]) + "\n"


@pytest.mark.parametrize("prefix", ["", "GradPatSup.Phys.PNS."])
def test_siemens_files_read_as_pypulseq_reads_them(tmp_path, prefix):
    path = tmp_path / "a.asc"
    path.write_text(asc(prefix))
    axes = safe_axes_from_asc(path)
    hardware = asc_to_hw(readasc(str(path))[0])
    for name, axis in zip("xyz", axes, strict=True):
        theirs = getattr(hardware, name)
        assert axis.tau == pytest.approx([1e-3 * t for t in (theirs.tau1, theirs.tau2, theirs.tau3)])
        assert axis.weight == (theirs.a1, theirs.a2, theirs.a3)
        assert (axis.stimulation_limit, axis.gradient_scale) == (theirs.stim_limit, theirs.g_scale)


def test_siemens_files_say_what_is_missing(tmp_path):
    path = tmp_path / "a.asc"
    path.write_text(asc(scale=False))
    with pytest.raises(FileError, match="flGScaleFactorX"):
        safe_axes_from_asc(path)
    assert safe_axes_from_asc(path, 0.3)[2].gradient_scale == 0.3
    path.write_text(asc().replace("flGSWDAY[1]  =  0.15", "flGSWDAY[1]  =  0.65"))
    with pytest.raises(FileError, match=r"add up to 1\.5"):
        safe_axes_from_asc(path)
    path.write_text(asc().replace("flGSWDTauZ[2]", "flGSWDTauZ[4]"))
    with pytest.raises(FileError, match=r"flGSWDTauZ\[2\]"):
        safe_axes_from_asc(path)
    path.write_text("nothing\n")
    with pytest.raises(FileError, match="no nerve stimulation"):
        safe_axes_from_asc(path)
    with pytest.raises(FileError, match="cannot be read"):
        safe_axes_from_asc(tmp_path / "absent.asc")
