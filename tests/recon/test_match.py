from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import MismatchError, SeqError
from pulsetwin.recon.match import RawFacts, match
from pulsetwin.recon.read import read
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq


@pytest.fixture
def epi(scans):
    return scans / "pulseq_epi" / "basic_epi_pe_plus.seq"


@pytest.fixture
def facts(epi, tmp_path):
    played, seq = played_readouts(read_seq(epi)), read_seq(epi)
    return RawFacts(
        tmp_path / "scan.dat",
        played.num_samples.copy(),
        np.zeros(len(played), bool),
        1000.0 + np.round(played.start_time / 2.5e-3) * 2.5e-3,
        float(played.dwell[0]),
        seq.signature,
    )


def test_the_pair_matches_in_order(facts, epi):
    found = match(facts, epi)
    assert np.array_equal(found.readout, np.arange(96))
    assert np.array_equal(found.event, np.arange(96))
    assert found.warnings == ()


def test_a_readout_too_few_is_the_raw_files_fault_when_the_signature_agrees(facts, epi):
    short = replace(facts, samples=facts.samples[:-1], noise=facts.noise[:-1], time=facts.time[:-1])
    with pytest.raises(MismatchError, match=r"95 readouts.*plays 96.*raw file looks wrong.*--partial"):
        match(short, epi)
    found = match(short, epi, partial=True)
    assert len(found.event) == 95
    assert any("95 of the 96" in warning for warning in found.warnings)


def test_a_readout_too_few_is_the_seqs_fault_when_the_raw_file_is_complete(facts, epi):
    short = replace(facts, samples=facts.samples[:-1], noise=facts.noise[:-1], time=None, signature="")
    with pytest.raises(MismatchError, match=r"\.seq looks wrong, for the raw file is complete"):
        match(short, epi)


def test_twice_as_many_readouts_hint_at_a_repetition(facts, epi):
    twice = replace(facts, samples=np.tile(facts.samples, 2), noise=np.tile(facts.noise, 2), time=None)
    with pytest.raises(MismatchError, match="repeated 2 times"):
        match(twice, epi)


def test_another_length_names_the_readout(facts, epi):
    samples = facts.samples.copy()
    samples[17] = 128
    with pytest.raises(MismatchError, match=r"readout 18 .* has 128 samples, but ADC event 18 .* has 96"):
        match(replace(facts, samples=samples), epi)


def test_another_signature_is_an_error_that_can_be_trusted(facts, epi):
    other = replace(facts, signature="0" * 32)
    with pytest.raises(MismatchError, match=r"looks wrong: its signature is .* was played from 0000"):
        match(other, epi)
    assert any("trusted as asked" in warning for warning in match(other, epi, trust_seq=True).warnings)


def test_trust_never_covers_a_wrong_count(facts, epi):
    short = replace(facts, samples=facts.samples[:-1], noise=facts.noise[:-1], time=facts.time[:-1])
    with pytest.raises(MismatchError):
        match(short, epi, trust_seq=True)


def test_an_edited_seq_is_found_by_its_own_signature(facts, epi, tmp_path):
    edited = tmp_path / "edited.seq"
    edited.write_bytes(epi.read_bytes().replace(b"[ADC]", b"# edited\n[ADC]"))
    with pytest.raises(MismatchError, match="edited after it was signed"):
        match(facts, edited)


def test_the_dwell_time_counts_where_no_signature_confirms(facts, epi):
    other = replace(facts, dwell=2e-6)
    assert match(other, epi).warnings == ()
    unsigned = replace(other, signature="")
    with pytest.raises(MismatchError, match=r"dwell time is 4 us, but .* states 2 us"):
        match(unsigned, epi)


def test_time_stamps_that_do_not_fit_are_told(facts, epi):
    time = facts.time.copy()
    time[60:] += 0.5
    found = match(replace(facts, time=time), epi)
    assert any("time stamps of" in warning and "readout 61" in warning for warning in found.warnings)


def test_noise_readouts_of_the_scanner_are_left_out(facts, epi):
    noise = np.concatenate([[True, True], facts.noise])
    more = replace(
        facts,
        samples=np.concatenate([[512, 512], facts.samples]),
        noise=noise,
        time=np.concatenate([[999.0, 999.5], facts.time]),
    )
    assert np.array_equal(match(more, epi).readout, np.arange(2, 98))


def test_the_shipped_spin_echo_differs_from_its_seq_in_the_signature(scans):
    folder = scans / "pulseq_se"
    with pytest.raises(MismatchError, match="a4f98473"):
        read(folder / "image.dat", folder / "image.seq")
    raw = read(folder / "image.dat", folder / "image.seq", trust_seq=True)
    assert raw.groups[0].samples.shape == (64, 32, 64)
    assert raw.geometry.matrix == (64, 64, 1)


def test_files_that_differ_only_in_the_signature_are_told_apart(scans):
    folder = scans / "pulseq_epi"
    with pytest.raises(MismatchError, match="signature"):
        read(folder / "ramp_epi_pe_plus.dat", folder / "ramp_epi_pe_none.seq")


def test_a_raw_file_as_seq_is_an_error(scans, tmp_path):
    folder = scans / "pulseq_epi"
    shutil.copy(folder / "basic_epi_pe_plus.dat", tmp_path / "a.seq")
    with pytest.raises(SeqError):
        read(folder / "basic_epi_pe_plus.dat", tmp_path / "a.seq")
