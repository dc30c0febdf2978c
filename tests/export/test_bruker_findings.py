"""What a check says of a file for the public Bruker interpreter."""

from __future__ import annotations

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.export.bruker import write_bruker
from pulsetwin.export.bruker_findings import MENDED, REPORTED, allowed_dwell, bruker_findings, nearest_dwells
from pulsetwin.export.findings import WARNING
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.export import bruker_cases as cases
from tests.sequences import made

TERRA = Scanner.preset("siemens-terra")


def found(seq, folder, version="1.4.1"):
    """Return the findings on a file that was written for Siemens, by rule."""
    write_siemens(
        seq, folder / "a.seq", scanner=TERRA, version=version, definitions=cases.STATED, unsafe=True, force=True
    )
    return {one.rule: one for one in bruker_findings(read_seq(folder / "a.seq"), cases.BIOSPEC)}


def test_a_file_of_another_vendor_is_told_what_export_mends(tmp_path):
    block = pp.make_block_pulse(0.1, duration=1e-3, delay=100e-6, system=cases.SYSTEM, use="excitation")
    seq = cases.gradient_echo()
    seq.add_block(block)
    rules = found(seq, tmp_path, "1.5")
    assert set(rules) - set(REPORTED) == {"bruker-version", "bruker-labels"}
    assert set(rules) - set(REPORTED) < set(MENDED)
    assert "1.5.0" in rules["bruker-version"].message
    assert (rules["bruker-labels"].block, rules["bruker-labels"].count) == (1, 9)
    assert all(one.severity == WARNING for one in rules.values())


def test_an_exported_file_has_nothing_against_it(tmp_path):
    write_bruker(cases.gradient_echo(), tmp_path / "a", scanner=cases.BIOSPEC, definitions=cases.STATED)
    assert {one.rule for one in bruker_findings(read_seq(tmp_path / "a"), cases.BIOSPEC)} <= set(REPORTED)


def test_other_vendors_have_none(tmp_path):
    assert found(cases.gradient_echo(), tmp_path)
    assert bruker_findings(read_seq(tmp_path / "a.seq"), TERRA) == []


def test_dropped_blocks_are_named(tmp_path):
    one = found(cases.sequence(*[[]] * 2060), tmp_path)["bruker-blocks"]
    assert (one.block, one.value, one.limit, one.count) == (2049, 2060, 2048, 12)
    assert one.time == pytest.approx(2048 * 4e-3)


def test_numbers_phases_and_sample_times_of_files_by_pypulseq(tmp_path):
    block = pp.make_block_pulse(0.1, duration=1e-3, delay=100e-6, phase_offset=-1, system=cases.SYSTEM, use="other")
    wave = 1e5 * np.sin(np.pi * (np.arange(100) + 0.5) / 100) ** 2
    shaped = pp.make_arbitrary_grad("y", wave, first=0, last=0, system=cases.SYSTEM)
    seq = cases.sequence([block], [shaped], [cases.trapezoid()])
    rules = {
        one.rule: one for one in bruker_findings(read_seq(made.write(seq, tmp_path / "a.seq", "1.4.1")), cases.BIOSPEC)
    }
    assert {"bruker-phase", "bruker-rf-time", "bruker-shaped", "bruker-numbers"} <= set(rules)
    assert [rules[name].block for name in ("bruker-phase", "bruker-rf-time", "bruker-shaped")] == [1, 1, 2]


def test_rasters_and_delays_of_trapezoids_are_told_but_allowed(tmp_path):
    fine, odd = cases.trapezoid(), cases.trapezoid(rise_time=90e-6)
    late = cases.trapezoid(delay=40e-6)
    rules = found(cases.sequence([fine], [odd], [late]), tmp_path)
    assert {name: rules[name].block for name in REPORTED} == {"bruker-grid": 2, "bruker-gradient-delay": 3}
    write_bruker(cases.sequence([odd], [late]), tmp_path / "a", scanner=cases.BIOSPEC, definitions=cases.STATED)


def test_gaps_between_acquisitions(tmp_path):
    """32 samples of 20 us from 100 us on end at 740 us: blocks of 1340 us leave 700 us, of 1330 us 690 us."""
    assert "bruker-adc-gap" not in found(cases.sequence(*[[cases.acquisition()]] * 3, length=1.34e-3), tmp_path)
    one = found(cases.sequence(*[[cases.acquisition()]] * 3, length=1.33e-3), tmp_path)["bruker-adc-gap"]
    assert (one.block, one.value, one.limit, one.count) == (2, pytest.approx(690), pytest.approx(700), 2)


@pytest.mark.parametrize("dwell", [50e-9, 2e-6, 5e-6, 6.4e-6, 20e-6, 50e-6, 62.5e-6])
def test_allowed_dwell_times(dwell):
    assert allowed_dwell(dwell)
    below, above = nearest_dwells(dwell)
    assert below == pytest.approx(dwell)
    assert above > dwell


@pytest.mark.parametrize("dwell", [0.0, 60e-9, 3e-6, 9.8e-6, 7e-6, 33.3e-6])
def test_dwell_times_without_a_decimation(dwell):
    """Checked against the list of divisors itself."""
    divisors = sorted(2**a * 5**b for a in range(16) for b in range(8))
    assert not allowed_dwell(dwell)
    assert not np.any(np.isclose(np.array(divisors) / 20e6, dwell, rtol=1e-9, atol=0))
    if dwell > 50e-9:
        below, above = nearest_dwells(dwell)
        assert below < dwell < above
        assert not any(below * (1 + 1e-9) < one / 20e6 < above * (1 - 1e-9) for one in divisors)
