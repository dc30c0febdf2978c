"""Rules of the check beyond limits and timing: segments of acquisitions, long delays, the text, interpreters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest
from pypulseq.make_adc import calc_adc_segments

from pulsetwin import cli
from pulsetwin.export.describe import needs
from pulsetwin.export.findings import WARNING, at_blocks
from pulsetwin.export.interpreters import counts, features, verdicts
from pulsetwin.export.playable import check
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made

PRISMA, BIOSPEC = Scanner.preset("siemens-prisma"), Scanner.preset("bruker-biospec-94")
EPI = Path(__file__).parents[2] / "examples" / "data" / "pulseq_epi" / "ramp_epi_pe_plus.seq"
PULSE = "shape_id 1\nnum_samples 4\n1\n0\n0\n1\n"
RF = "1 500 1 0 0 2 100 0 0 0 0 e\n"


def write(tmp_path, blocks, version="1.5.1", **sections):
    path = tmp_path / "a.seq"
    path.write_text(made.text(version, blocks, **sections))
    return path


def found(report, rule):
    """Return the findings of a rule as ``(severity, block, count)``."""
    return [(one.severity, one.block, one.count) for one in report.findings if one.rule == rule]


def acquisition(tmp_path, samples, dwell_ns, segment=None):
    """Return the check of one acquisition, with the definition of its segments."""
    stated = "" if segment is None else f"MaxAdcSegmentLength {segment}\n"
    blocks = f"1 {int(samples * dwell_ns / 1e4) + 30} 0 0 0 0 1 0\n"
    path = write(tmp_path, blocks, adc=f"1 {samples} {dwell_ns} 100 0 0 0 0 0\n", definitions=stated)
    return check(path, PRISMA)


@pytest.mark.parametrize("samples", [10_000, 20_000, 60_000])
@pytest.mark.parametrize("dwell_ns", [1000, 2500, 3300, 12_800])
def test_segments_that_pypulseq_computes_are_playable(tmp_path, samples, dwell_ns):
    parts, segment = calc_adc_segments(samples, 1e-9 * dwell_ns, PRISMA.opts)
    report = acquisition(tmp_path, int(parts * segment), dwell_ns, int(segment))
    assert report.playable
    assert [rule for rule in ("adc-samples", "adc-segments") if found(report, rule)] == []
    bare = acquisition(tmp_path, int(parts * segment), dwell_ns)
    assert found(bare, "adc-samples") == [("error", 1, 1)]


@pytest.mark.parametrize(
    ("samples", "dwell_ns", "segment"),
    [
        (20_000, 2500, 8196),  # longer than the limit
        (20_000, 2500, 6000),  # does not divide 20000
        (20_000, 2500, 10.5),  # not whole
        (20_000, 2500, 0),
        (20_000, 3300, 4000),  # 13.2 ms are on the raster, so the next line tells its own rule
        (20_020, 3300, 1001),  # no multiple of 4, and off the raster
        (20_004, 2500, 12),  # 1667 segments
    ],
)
def test_segments_that_do_not_fit_are_told(tmp_path, samples, dwell_ns, segment):
    report = acquisition(tmp_path, samples, dwell_ns, segment)
    fits = (samples, dwell_ns, segment) == (20_000, 3300, 4000)
    assert found(report, "adc-segments") == ([] if fits else [("error", 1, 1)])
    assert report.playable == fits


def test_each_of_several_acquisitions_is_judged(tmp_path):
    """Five acquisitions: one is right, and of the others each breaks one rule."""
    adc = (
        "1 64 10000 100 0 0 0 0 0\n2 62 10000 100 0 0 0 0 0\n3 64 10050 100 0 0 0 0 0\n4 9000 100 100 0 0 0 0 0\n"
        "5 64 10000 5 0 0 0 0 0\n"
    )
    blocks = "".join(f"{n} 130 0 0 0 0 {n} 0\n" for n in range(1, 6)) + "6 130 0 0 0 0 2 0\n"
    report = check(write(tmp_path, blocks, adc=adc), PRISMA)
    assert found(report, "adc-divisor") == [("error", 2, 2)]
    assert found(report, "adc-raster") == [("error", 3, 1)]
    assert found(report, "adc-samples") == [("error", 4, 1)]
    assert found(report, "adc-dead-time") == [("error", 5, 1)]
    assert {one.rule for one in report.errors} == {"adc-divisor", "adc-raster", "adc-samples", "adc-dead-time"}


def test_the_smallest_dead_time_is_the_worst(tmp_path):
    rf = "".join(f"{n} 500 1 0 0 2 {delay} 0 0 0 0 e\n" for n, delay in ((1, 90), (2, 20), (3, 80)))
    report = check(
        write(tmp_path, "1 40 1 0 0 0 0 0\n2 40 2 0 0 0 0 0\n3 40 3 0 0 0 0 0\n", rf=rf, shapes=PULSE), PRISMA
    )
    worst = next(one for one in report.errors if one.rule == "rf-dead-time")
    assert (worst.block, worst.value, worst.limit, worst.count) == (2, pytest.approx(20), 100, 3)
    assert worst.margin == pytest.approx(-0.8)


def test_a_pulse_that_waits_as_pypulseq_writes_it(tmp_path):
    """A delay of 1.5 s is written 1.5e+06, which the official reader takes as 1."""
    sequence = pp.Sequence(made.SYSTEM)
    sequence.add_block(pp.make_delay(1e-3))
    sequence.add_block(pp.make_block_pulse(1.0, duration=1e-3, delay=1.5, system=made.SYSTEM, use="excitation"))
    path = tmp_path / "a.seq"
    sequence.write(str(path), create_signature=False)
    if "1.5e+06" not in path.read_text():
        pytest.skip("this pypulseq writes delays in digits")
    report = check(path, PRISMA)
    assert found(report, "rf-delay") == [(WARNING, 2, 1)]
    assert any("1.5e+06" in one.message for one in report.errors if one.rule == "text")
    assert not any(one.rule == "text" for one in check(read_seq(path), PRISMA).findings)


def test_block_pulses_of_two_samples_are_told_for_siemens_only(tmp_path):
    sequence = pp.Sequence(made.SYSTEM)
    sequence.add_block(pp.make_block_pulse(1.0, duration=1e-3, delay=1e-4, system=made.SYSTEM, use="excitation"))
    path = made.write(sequence, tmp_path / "a.seq", "1.4.1")
    assert found(check(path, PRISMA), "rf-samples") == [(WARNING, 1, 1)]
    assert found(check(path, Scanner.preset("magritek-spinsolve-60")), "rf-samples") == []


def test_the_text_is_judged_as_the_vendor_reads_it(tmp_path):
    path = tmp_path / "a.seq"
    path.write_bytes(EPI.read_bytes().replace(b"\n1 ", b"\n1.0 ", 1))
    assert any(one.rule == "text" for one in check(path, PRISMA).errors)
    elsewhere = check(path, Scanner.preset("magritek-spinsolve-60"))
    assert "text" in {one.rule for one in elsewhere.warnings}


def test_signatures_are_kept_wrong_or_absent(tmp_path):
    assert "signature" in {one.rule for one in check(EPI, PRISMA).passed}
    path = tmp_path / "a.seq"
    for text in (EPI.read_text().replace("Name epi", "Name api"), EPI.read_text().split("[SIGNATURE]")[0]):
        path.write_text(text)
        assert found(check(path, PRISMA), "signature") == [(WARNING, None, 1)]


def test_what_was_designed_unsafe_says_so(tmp_path, capsys):
    frail = tmp_path / "frail.toml"
    preset = Path(cli.__file__).parents[1] / "scanners" / "siemens-prisma.toml"
    frail.write_text(preset.read_text() + "\nforbidden_bands = [[20.0, 3000.0]]\n")
    out = str(tmp_path / "out.seq")
    words = ["design", "flash", "--set", "spoiling=8", "--scanner", str(frail), "-o", out]
    assert cli.main(words) == 2
    assert not Path(out).exists()
    assert cli.main([*words, "--unsafe"]) == 0
    stated = read_seq(out).definitions["UnsafeChecksFailed"]
    assert stated.startswith("acoustic-")
    assert stated == ",".join(sorted({one.rule for one in check(out, Scanner.load(frail)).errors}))
    capsys.readouterr()
    assert cli.main(["check", out, "--scanner", "siemens-prisma"]) == 0
    assert f"although checks failed: {stated}" in capsys.readouterr().out


ROTATED = {"trap": "1 100000 50 900 50 20\n", "extensions": "1 1 1 0\n\nextension ROTATIONS 1\n1 1 0 0 0\n"}


def plays(path):
    return {one.interpreter: one.plays for one in verdicts(read_seq(path))}


def test_interpreters_read_versions_up_to_their_own(tmp_path):
    blocks = "1 110 0 1 0 0 0 0\n"
    trap = {"trap": ROTATED["trap"]}
    order = ["Siemens 1.4", "Siemens 1.5.0", "Siemens 1.5.1 and later", "Bruker (columns of 1.4)"]
    for version, expected in (
        ("1.3.1", [True, True, True, False]),
        ("1.4.1", [True, True, True, True]),
        ("1.5.0", [False, True, True, False]),
        ("1.5.1", [False, False, True, False]),
    ):
        text = "1 0 0 1 0 0 0 0\n" if version < "1.4" else blocks
        assert plays(write(tmp_path, text, version, **trap)) == dict(zip(order, expected, strict=True))


def test_features_decide_and_are_named(tmp_path):
    path = write(tmp_path, "1 110 0 1 0 0 0 1\n", **ROTATED)
    seq = read_seq(path)
    assert features(seq) == ["rotations"]
    assert needs(seq) == ["rotations (1.5.1)"]
    older = dataclasses.replace(seq, version=(1, 4, 1))
    assert [one.plays for one in verdicts(older)] == [False, False, True, False]
    assert verdicts(older)[0].features == {"rotations": "no"}
    assert "has no rotations" in str(verdicts(older)[0])
    warning = next(one for one in check(seq, PRISMA).warnings if one.rule == "interpreter")
    assert "Siemens 1.4 refuses files of 1.5.1" in warning.message


def test_features_of_a_real_sequence(tmp_path):
    seq = read_seq(made.write(made.spin_echo(4), tmp_path / "a.seq", "1.4.1"))
    assert features(seq) == ["gradients with corners at own times", "pulses with samples at own times", "labels"]
    bruker = verdicts(seq)[-1]
    assert bruker.features["labels"] == "ignored"
    assert not bruker.plays
    assert needs(seq) == []
    spiral = read_seq(made.write(made.spiral(), tmp_path / "b.seq", "1.4.1"))
    assert "shaped gradients" in features(spiral)


def test_tables_beyond_an_interpreter(tmp_path):
    blocks = "".join(f"{n} 110 0 1 0 0 0 0\n" for n in range(1, 2050))
    seq = read_seq(write(tmp_path, blocks, "1.4.1", trap=ROTATED["trap"]))
    assert counts(seq)["blocks"] == 2049
    assert verdicts(seq)[-1].reasons == ("drops blocks beyond 2048",)
    assert "bruker-blocks" in {one.rule for one in check(seq, BIOSPEC).warnings}


def test_nothing_is_said_where_a_rule_applies_to_no_block():
    seq = read_seq(EPI)
    none = np.zeros(len(seq), bool)
    assert at_blocks(seq, none, "error", "a", "", among=none) == []
    (kept,) = at_blocks(seq, none, "error", "a", "bad", -np.arange(len(seq)), 0.0)
    assert (kept.severity, kept.message, kept.value, kept.count) == ("passed", "", 0.0, len(seq))
