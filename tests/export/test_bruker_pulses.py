"""Pulses of a sequence as shape files and lists for ParaVision."""

from __future__ import annotations

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.export.bruker import write_bruker
from pulsetwin.export.bruker_pulses import LISTS, pulse_lists, read_pulse_lists, write_pulses
from pulsetwin.export.jcamp_shape import read_shape
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.export import bruker_cases as cases


def written(seq, folder):
    """Return a sequence as our reader sees it, with the uses of its pulses."""
    terra = Scanner.preset("siemens-terra")
    write_siemens(seq, folder / "a.seq", scanner=terra, version="1.5", definitions=cases.STATED, unsafe=True)
    return read_seq(folder / "a.seq")


def reference(angle=np.pi / 2, duration=1e-3, **options):
    options = {"delay": 100e-6, "system": cases.SYSTEM, "use": "excitation"} | options
    return pp.make_block_pulse(angle, duration=duration, **options)


def test_powers_follow_from_the_reference_pulse(tmp_path):
    seq = cases.sequence([reference()], [reference(np.pi, use="refocusing")], [reference(duration=2e-3)])
    lists, _ = pulse_lists(written(seq, tmp_path), 0.2)
    np.testing.assert_allclose(lists.power, 0.2 * np.array([1, 4, 0.25]), rtol=1e-6)
    np.testing.assert_allclose(lists.duration, [1e-3, 1e-3, 2e-3], rtol=1e-9)
    np.testing.assert_array_equal(lists.shape, [1, 2, 3])


def test_lists_are_in_order_of_play_and_read_back(tmp_path):
    first, second = cases.pulse(freq_offset=-500.0), cases.pulse(phase_offset=-np.pi / 2)
    seq = cases.sequence([second], [first], [cases.acquisition()], [second], [reference()])
    lists = write_pulses(written(seq, tmp_path), tmp_path / "out", reference_power=0.1)
    read = read_pulse_lists(tmp_path / "out" / LISTS)
    assert read.reference_power == 0.1
    np.testing.assert_allclose(read.frequency, [0, -500, 0, 0])
    np.testing.assert_allclose(read.phase, [1.5 * np.pi, 0, 1.5 * np.pi, 0], atol=1e-8)
    np.testing.assert_array_equal(read.shape, [1, 1, 1, 2])
    np.testing.assert_allclose(read.power, lists.power, rtol=1e-8)
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["pulseq_shape1.exc", "pulseq_shape2.exc", LISTS]


def test_shapes_power_and_length_make_the_pulse(tmp_path):
    """What the console would play, from the files alone, is the waveform of pypulseq."""
    asked = pp.make_adiabatic_pulse("hypsec", duration=5e-3, delay=100e-6, system=cases.SYSTEM, use="inversion")
    seq = cases.sequence([asked], length=10e-3)
    lists = write_pulses(written(seq, tmp_path), tmp_path / "out", reference_power=0.3)
    shape = read_shape(tmp_path / "out" / "pulseq_shape1.inv")
    played = 250 * np.sqrt(lists.power[0] / 0.3) * shape.envelope * np.exp(1j * lists.phase[0])
    assert lists.duration[0] == pytest.approx(asked.shape_dur)
    np.testing.assert_allclose(played, asked.signal, rtol=0, atol=2e-6 * np.abs(asked.signal).max())
    assert (shape.mode, shape.flip_angle) == ("inversion", pytest.approx(np.pi))


def test_pulses_of_seconds_become_short_shapes(tmp_path):
    seq = cases.sequence([reference(1.0, duration=2.0)], length=2.1)
    _, (shape,) = pulse_lists(written(seq, tmp_path), 1.0)
    assert len(shape.envelope) <= 32768
    assert shape.integral_factor == pytest.approx(1)
    assert shape.flip_angle == pytest.approx(1, rel=1e-6)


def test_the_exported_sequence_gives_the_same_lists(tmp_path):
    seq = cases.gradient_echo()
    write_bruker(seq, tmp_path / "gre", scanner=cases.BIOSPEC, definitions=cases.STATED)
    ours, theirs = (pulse_lists(one, 1.0)[0] for one in (read_seq(tmp_path / "gre"), written(seq, tmp_path)))
    np.testing.assert_allclose(ours.phase, theirs.phase, atol=1e-8)
    np.testing.assert_allclose(ours.power, theirs.power, rtol=1e-8)


def test_what_cannot_be_written_is_refused(tmp_path):
    seq = written(cases.sequence([reference()]), tmp_path)
    for power in (0.0, -1.0, np.nan):
        with pytest.raises(ProtocolError, match="reference power"):
            write_pulses(seq, tmp_path / "out", reference_power=power)
    with pytest.raises(ProtocolError, match="ppm"):
        pulse_lists(written(cases.sequence([reference(freq_ppm=1.0)]), tmp_path / "ppm"), 1.0)
    with pytest.raises(ProtocolError, match="no pulse"):
        pulse_lists(written(cases.sequence([cases.acquisition()]), tmp_path / "none"), 1.0)
    assert not (tmp_path / "out").exists()


def test_damaged_lists_are_told(tmp_path):
    write_pulses(written(cases.sequence([reference()]), tmp_path), tmp_path / "out", reference_power=1.0)
    text = (tmp_path / "out" / LISTS).read_text()
    for broken in ("", text.replace("( 1 )", "( 2 )"), text.replace("$SeqRFPowerList", "$Other")):
        (tmp_path / "b").write_text(broken)
        with pytest.raises(FileError, match="no lists of pulses"):
            read_pulse_lists(tmp_path / "b")
