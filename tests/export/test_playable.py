"""The check verb: clean sequences pass, each broken rule is found where it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.export.describe import describe_seq
from pulsetwin.export.playable import check
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import sequence_named
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made
from tests.sequences.small import small

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*.seq"))
PRISMA = Scanner.preset("siemens-prisma")
PULSE = "shape_id 1\nnum_samples 4\n1\n0\n0\n1\n"
BLOCKS = "1 40 1 0 0 0 0 0\n2 110 0 1 0 0 1 0\n"
RF = "1 500 1 0 0 2 100 0 0 0 0 e\n"
TRAP = "1 100000 50 900 50 20\n"
ADC = "1 64 10000 100 0 0 0 0 0\n"


def report(tmp_path, blocks=BLOCKS, scanner=PRISMA, version="1.5.1", **changes):
    sections = {"rf": RF, "trap": TRAP, "adc": ADC, "shapes": PULSE} | changes
    path = tmp_path / "a.seq"
    path.write_text(made.text(version, blocks, **sections))
    return check(path, scanner)


def rules(found):
    return {finding.rule for finding in found.errors}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_was_played_is_playable(path):
    """These files ran on a scanner of this kind."""
    assert check(path, PRISMA).errors == ()


@pytest.mark.parametrize("make", [made.spin_echo, made.spiral, lambda: made.gradient_echo(4, 2)])
@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_what_pypulseq_makes_within_limits_is_playable(tmp_path, make, version):
    assert check(made.write(make(), tmp_path / "a.seq", version), PRISMA).errors == ()


def test_the_hand_written_one_is_playable(tmp_path):
    found = report(tmp_path)
    assert found.playable
    assert found.peaks["gradient x [mT/m]"] == pytest.approx(1e3 * 100000 / 42.576e6)
    assert found.peaks["slew x [T/m/s]"] == pytest.approx(100000 / 50e-6 / 42.576e6)
    assert found.peaks["B1 [uT]"] == pytest.approx(1e6 * 500 / 42.576e6)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("gradient-x", {"trap": "1 4000000 500 0 500 20\n"}),
        ("slew-x", {"trap": "1 100000 10 980 50 20\n"}),
        ("slew-x", {"trap": "1 100000 0 990 50 20\n"}),
        ("b1", {"rf": RF.replace("500", "5000")}),
        ("rf-dead-time", {"rf": RF.replace(" 100 ", " 90 ")}),
        ("rf-ringdown", {"rf": RF.replace(" 100 ", " 390 ")}),
        ("rf-raster", {"rf": RF.replace(" 100 ", " 100.5 ")}),
        ("gradient-raster-x", {"trap": "1 100000 55 900 50 20\n"}),
        ("gradient-raster-x", {"trap": "1 100000 50 900 50 25\n"}),
        ("gradient-end-x", {"trap": "1 100000 50 1900 50 20\n"}),
        ("adc-dead-time", {"adc": ADC.replace(" 100 ", " 5 ")}),
        ("adc-end", {"adc": ADC.replace("64", "200")}),
        ("adc-raster", {"adc": ADC.replace("10000", "10050")}),
        ("adc-start", {"adc": ADC.replace(" 100 ", " 100.5 ")}),
        ("adc-divisor", {"adc": ADC.replace("64", "62")}),
        ("adc-samples", {"adc": "1 8196 100 100 0 0 0 0 0\n"}),
        ("raster", {"definitions": "GradientRasterTime 2e-05\n"}),
    ],
)
def test_each_rule_is_found(tmp_path, rule, changes):
    found = report(tmp_path, **changes)
    assert rule in rules(found)
    assert not found.playable
    if rule != "raster":
        block = 1 if rule.startswith(("rf", "b1")) else 2
        worst = next(finding for finding in found.errors if finding.rule == rule)
        assert (worst.block, worst.time) == (block, pytest.approx(400e-6 * (block - 1)))


def test_counts_and_the_worst_block(tmp_path):
    blocks = "".join(f"{n} 110 0 {1 + n % 2} 0 0 0 0\n" for n in range(1, 8))
    found = report(tmp_path, blocks, trap="1 100000 10 900 50 20\n2 200000 10 900 50 20\n")
    worst = next(finding for finding in found.errors if finding.rule == "slew-x")
    assert (worst.count, worst.block) == (7, 1)
    assert worst.value == pytest.approx(200000 / 10e-6 / 42.576e6)
    assert worst.limit == 200


STEP = "shape_id 2\nnum_samples 2\n0\n1\n\nshape_id 3\nnum_samples 2\n1\n0\n\nshape_id 4\nnum_samples 2\n0\n100\n"


@pytest.mark.parametrize(
    ("blocks", "rule"),
    [
        ("1 100 0 2 0 0 0 0\n2 100 0 3 0 0 0 0\n", None),
        ("1 100 0 2 0 0 0 0\n", "jump-x"),
        ("1 100 0 3 0 0 0 0\n", "jump-x"),
        ("1 100 0 2 0 0 0 0\n2 100 0 0 0 0 0 0\n", "jump-x"),
        ("1 110 0 2 0 0 0 0\n2 100 0 3 0 0 0 0\n", "jump-x"),
        ("1 100 0 2 0 0 0 0\n2 100 0 0 3 0 0 0\n", "jump-y"),
    ],
)
def test_gradients_must_meet_where_blocks_meet(tmp_path, blocks, rule):
    shaped = "2 400000 0 400000 2 4 0\n3 400000 400000 0 3 4 0\n"
    found = report(tmp_path, blocks, gradients=shaped, shapes=PULSE + "\n" + STEP, rf="", adc="")
    assert (rule is None and found.playable) or rule in rules(found)


def test_rotated_gradients_meet_and_are_measured_after_rotation(tmp_path):
    half = np.sqrt(0.5)
    turns = f"1 {half} 0 0 {half}\n2 {np.cos(np.pi / 8)} 0 0 {np.sin(np.pi / 8)}\n"
    extensions = f"1 1 1 0\n2 1 2 0\n\nextension ROTATIONS 1\n{turns}"
    shaped = "2 400000 0 400000 2 4 0\n3 400000 400000 0 3 4 0\n"
    parts = {"gradients": shaped, "shapes": PULSE + "\n" + STEP, "rf": "", "adc": "", "extensions": extensions}
    together = report(tmp_path, "1 100 0 2 0 0 0 1\n2 100 0 0 3 0 0 0\n", **parts)
    assert together.playable
    apart = report(tmp_path, "1 100 0 2 0 0 0 1\n2 100 0 3 0 0 0 0\n", **parts)
    assert {"jump-x", "jump-y"} <= rules(apart)
    strong = "1 3000000 1000 900 1000 20\n"
    blocks = "1 400 0 1 1 0 0 0\n2 400 0 1 1 0 0 2\n"
    turned = report(tmp_path, blocks, **parts | {"trap": strong, "gradients": "", "shapes": ""})
    assert rules(turned) == {"gradient-y"}
    assert turned.peaks["gradient vector [mT/m]"] == pytest.approx(np.sqrt(2) * 3e9 / 42.576e6)
    straight = report(tmp_path, "1 400 0 1 1 0 0 0\n", **parts | {"trap": strong, "gradients": "", "shapes": ""})
    assert straight.playable
    assert any(finding.rule == "gradient-vector" for finding in straight.warnings)


def test_labels(tmp_path):
    extensions = (
        "1 1 1 0\n2 1 2 0\n3 2 1 0\n4 1 3 0\n\nextension LABELSET 1\n1 70000 LIN\n2 5 NAV\n3 1 XYZ\n\n"
        "extension LABELINC 2\n1 1 REV\n"
    )
    blocks = "".join(f"{n} 110 0 0 0 0 1 {n}\n" for n in range(1, 5))
    found = report(tmp_path, blocks, extensions=extensions)
    messages = " ".join(str(finding) for finding in found.findings)
    for text in ("label LIN is out of range: 70000", "label NAV is out of range: 5", "flag REV is incremented"):
        assert text in messages
    assert "label XYZ is unknown" in messages
    assert "label NAV is not set before the first acquisition" in messages


def test_another_scanner_another_verdict(tmp_path):
    weak = dataclasses.replace(PRISMA, max_gradient=2e-3)
    assert "gradient-x" in rules(report(tmp_path, scanner=weak))


def test_edited_files_are_told(tmp_path):
    path = tmp_path / "a.seq"
    path.write_bytes(EXAMPLES[0].read_bytes().replace(b"Name epi", b"Name api"))
    found = check(path, PRISMA)
    assert any("signature" in finding.message for finding in found.warnings)


def test_text_and_dictionary_say_the_same(tmp_path):
    found = report(tmp_path, trap="1 100000 10 900 50 20\n")
    text, table = found.text(), json.loads(json.dumps(found.to_dict()))
    assert text.startswith("NOT playable on siemens MAGNETOM Prisma: 1 error, 2 warnings, 24 rules kept\n")
    assert "slew-x: Gx changes too fast: 234.874 T/m/s (limit 200) in block 2" in text
    assert not table["playable"]
    assert table["findings"][0]["rule"] == "slew-x"


def test_description_measures_the_protocol(tmp_path):
    facts = describe_seq(read_seq(made.write(made.spin_echo(6), tmp_path / "a.seq", "1.5.0")))
    json.dumps(facts)
    assert facts["signature_state"] == "valid"
    assert facts["matrix"] == [64, 6, 1]
    assert facts["fov_mm"] == pytest.approx([200, 200, 5])
    assert facts["resolution_mm"][:2] == pytest.approx([3.125, 200 / 6], rel=1e-3)
    assert facts["flags"]["noise"] == 1
    assert facts["labels"]["LIN"] == [0, 10]
    assert [pulse["use"] for pulse in facts["pulses"]] == ["excitation", "refocusing"]
    real = describe_seq(read_seq(next(path for path in EXAMPLES if path.stem == "image")))
    assert (real["matrix"], real["tr_ms"], real["te_ms"]) == ([64, 64, 1], 1000.0, [50.05])
    assert real["needs"] == []


def test_description_names_what_a_scanner_must_know(tmp_path):
    extensions = "1 1 1 0\n\nextension ROTATIONS 1\n1 1 0 0 0\n"
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.1", "1 110 0 1 0 0 0 1\n", trap=TRAP, extensions=extensions))
    assert describe_seq(read_seq(path))["needs"] == ["rotations (1.5.1)"]


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_a_designed_spiral_does_not_jump_where_the_file_holds_no_edges(tmp_path, version):
    seq = sequence_named("spiral").build(small("spiral", PRISMA), PRISMA)
    findings = [*check(made.write(seq, tmp_path / "a.seq", version), PRISMA).kept]
    jumps = {finding.rule: finding.value for finding in findings if finding.rule.startswith("jump-")}
    assert jumps == {f"jump-{axis}": pytest.approx(0.0, abs=1e-6) for axis in "xyz"}
