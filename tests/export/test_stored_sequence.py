"""A `.seq` file that was read, as a pypulseq sequence: what is written from it plays the same."""

from __future__ import annotations

import numpy as np
import pypulseq as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens import write_siemens
from pulsetwin.export.stored_sequence import packed, stored_sequence
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import ADC, EXT, GX, GZ, RF, read_seq
from pulsetwin.sequences.shapes import Shape, decode
from pulsetwin.sequences.waveforms import corners, pulse
from tests.export import siemens_cases as cases
from tests.sequences import made


def soft_and_oversampled() -> pp.Sequence:
    """Return what only 1.5 can hold: an oversampled gradient, a soft delay, a phase-modulated acquisition."""
    time = np.arange(1, 200) * 5e-6
    wave = 1e5 * np.sin(np.pi * time / 1e-3) ** 2
    seq = cases.sequence(
        [pp.make_arbitrary_grad("x", wave, first=0, last=0, oversampling=True, system=cases.SYSTEM)],
        [cases.acquisition(phase_modulation=np.linspace(0, 3, 64))],
    )
    seq.add_block(pp.make_soft_delay("TE", offset=-2e-3, factor=0.5, default_duration=5e-3))
    return seq


BUILDERS = {
    "gre": cases.gre_label,
    "epi": cases.epi,
    "echo": cases.labelled_echo,
    "spiral": made.spiral,
    "new": soft_and_oversampled,
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_sequence_that_was_read_is_written_again_as_it_was(tmp_path, build):
    options = {"scanner": cases.PRISMA, "version": "1.5", "definitions": cases.STATED}
    write_siemens(build(), tmp_path / "a.seq", **options)
    first = read_seq(tmp_path / "a.seq")
    write_siemens(stored_sequence(first, cases.PRISMA), tmp_path / "b.seq", **options)
    second = read_seq(tmp_path / "b.seq")
    assert len(first) == len(second)
    np.testing.assert_allclose(second.block_duration, first.block_duration, rtol=0, atol=1e-12)
    assert first.definitions == second.definitions
    for column in (RF, GX, GX + 1, GZ, ADC, EXT):
        np.testing.assert_array_equal(first.events[:, column] == NONE, second.events[:, column] == NONE)
    check_tables(first, second)
    same_waveforms(first, second)
    assert sorted(map(repr, first.extensions.labels)) == sorted(map(repr, second.extensions.labels))
    assert first.extensions.triggers == second.extensions.triggers
    assert first.extensions.soft_delays == second.extensions.soft_delays


def check_tables(first, second):
    for block in range(len(first)):
        one, other = first.events[block], second.events[block]
        for column, name, fields in (
            (RF, "rf", ("delay", "center", "freq", "phase", "freq_ppm", "phase_ppm", "duration", "flip")),
            (ADC, "adc", ("num_samples", "dwell", "delay", "freq", "phase", "freq_ppm", "phase_ppm")),
        ):
            if one[column] != NONE:
                tables = getattr(first, name), getattr(second, name)
                rows = one[column], other[column]
                values = [[getattr(t, field)[r] for field in fields] for t, r in zip(tables, rows, strict=True)]
                np.testing.assert_allclose(values[0], values[1], rtol=1e-7, atol=1e-12)
        if one[RF] != NONE:
            assert first.rf.use[one[RF]] == second.rf.use[other[RF]]


def same_waveforms(first, second):
    for block in range(len(first)):
        pairs = [(corners(first, block), corners(second, block))]
        if first.events[block, RF] != NONE:
            pairs.append(tuple(pulse(seq, int(seq.events[block, RF])) for seq in (first, second)))
        for (time, value), (read_time, read_value) in pairs:
            np.testing.assert_allclose(read_time, time, rtol=0, atol=1e-9)
            np.testing.assert_allclose(read_value, value, rtol=0, atol=1e-6 * np.abs(value).max(initial=0) + 1e-12)


def test_old_files_gain_what_they_lack(tmp_path):
    """A file of 1.4.1 states no use and may leave out the phase shape; pypulseq writes none of these as 1.5."""
    seq = cases.sequence([cases.pulse()])
    write_siemens(seq, tmp_path / "a.seq", scanner=cases.PRISMA, definitions=cases.STATED)
    text = (tmp_path / "a.seq").read_text().split("\n[SIGNATURE]")[0]
    head, rows = text.split("[RF]\n")
    words = rows.split("\n", 1)[0].split()
    (tmp_path / "b.seq").write_text(
        head + "[RF]\n" + " ".join([*words[:3], "0", *words[4:]]) + rows[rows.index("\n") :]
    )
    old = read_seq(tmp_path / "b.seq")
    assert old.rf.phase_shape[0] == NONE
    write_siemens(stored_sequence(old, cases.PRISMA), tmp_path / "c.seq", scanner=cases.PRISMA, version="1.5")
    new = read_seq(tmp_path / "c.seq")
    assert new.version == (1, 5, 0)
    assert (new.rf.use[0], new.rf.flip[0]) == ("e", pytest.approx(old.rf.flip[0]))


def test_rotations_are_refused_with_their_block(tmp_path):
    path = tmp_path / "a.seq"
    write_siemens(cases.gre_label(2), path, scanner=cases.PRISMA, version="1.5", definitions=cases.STATED)
    text = path.read_text().split("\n[SIGNATURE]")[0].replace("revision 0", "revision 1")
    text = text.replace("extension TRIGGERS", "extension ROTATIONS")
    section = text.split("extension ROTATIONS")[1].split("\n\n")[0]
    text = text.replace(section, section.split("\n")[0] + "\n1 1 0 0 0\n2 0.5 0.5 0.5 0.5")
    path.write_text(text + "\n")
    with pytest.raises(ProtocolError, match=r"block 2: a rotation cannot be written"):
        stored_sequence(read_seq(path), cases.PRISMA)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(-1, 1)), min_size=1, max_size=12), st.floats(-1, 1))
def test_packed_shapes_decode_to_what_they_were(runs, start):
    index = np.concatenate(([0], np.cumsum([count for count, _ in runs])))
    value = np.array([start, *(end for _, end in runs)])
    shape = Shape(int(index[-1]) + 1, index, value)
    stored = packed(shape)
    text = [float(f"{number:.9g}") for number in stored[1:]]
    back = decode(np.array(text), int(stored[0]))
    np.testing.assert_allclose(back.samples(), shape.samples(), rtol=0, atol=2e-6)
    compressed = pp.decompress_shape.decompress_shape
    theirs = compressed(type("Shape", (), {"num_samples": int(stored[0]), "data": np.array(text)})())
    np.testing.assert_allclose(theirs, shape.samples(), rtol=0, atol=2e-6)


def test_a_pulse_of_seconds_stays_a_few_numbers():
    assert len(packed(Shape(15_000_000, np.array([0, 14_999_999]), np.ones(2)))) < 6
