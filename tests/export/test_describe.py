"""Descriptions: what is measured on the played sequence agrees with what its definitions state."""

from __future__ import annotations

import dataclasses

import pytest

from pulsetwin.export.describe import describe_seq
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import sequence_named
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made
from tests.sequences.small import small

PRISMA = Scanner.preset("siemens-prisma")


def designed(name, tmp_path):
    seq = sequence_named(name).build(small(name, PRISMA), PRISMA)
    return read_seq(made.write(seq, tmp_path / f"{name}.seq", "1.4.1"))


def without(seq, *names):
    kept = {name: value for name, value in seq.definitions.items() if name not in names}
    return dataclasses.replace(seq, definitions=kept)


@pytest.mark.parametrize("name", ["afi", "mprage", "qalas", "rare"])
def test_measured_is_what_is_stated(name, tmp_path):
    """Repetitions last from preparation to preparation, or for pairs of excitations, not for one echo spacing."""
    seq = designed(name, tmp_path)
    stated, measured = describe_seq(seq), describe_seq(without(seq, "TE", "TR", "Matrix"))
    assert stated["tr_ms"] == pytest.approx(1e3 * seq.definitions["TR"], abs=1e-6)
    assert measured["tr_ms"] == pytest.approx(stated["tr_ms"], abs=1e-4)
    assert stated["te_ms"] == measured["te_ms"] == pytest.approx([1e3 * seq.definitions["TE"]], abs=1e-3)
    assert stated["matrix"] == list(seq.definitions["Matrix"])
    if name != "qalas":  # its ellipse need not touch the edges of k-space
        assert measured["matrix"] == stated["matrix"]


def test_without_a_pulse_k_has_no_origin(tmp_path):
    seq = designed("raser", tmp_path)
    facts = describe_seq(seq)
    assert (facts["matrix"], facts["te_ms"]) == ([44, 44, 1], [])
    assert facts["resolution_mm"] == pytest.approx([7.4 / 44, 7.4 / 44, 10], abs=1e-6)
    assert facts["tr_ms"] == pytest.approx(describe_seq(without(seq, "TR"))["tr_ms"], abs=1e-4)
    unknown = describe_seq(without(seq, "Matrix", "FOV"))
    assert not {"matrix", "kspace"} & set(unknown)


@pytest.mark.parametrize("value", ["0.02", "-1", "1e9", "0.01 0.02", "soon"])
def test_only_a_time_within_the_sequence_is_taken_for_tr(value, tmp_path):
    path = made.write(made.gradient_echo(8), tmp_path / "a.seq", "1.4.1")
    measured = describe_seq(read_seq(path))["tr_ms"]
    path.write_text(path.read_text().replace("[DEFINITIONS]\n", f"[DEFINITIONS]\nTR {value}\n"))
    assert describe_seq(read_seq(path))["tr_ms"] == (20.0 if value == "0.02" else measured)
    assert measured != 20.0
