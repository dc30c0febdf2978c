"""Patches of `.seq` files: what changes is read back changed, and every other byte stays."""

from __future__ import annotations

import gzip
import hashlib
import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import MismatchError, OutputExistsError, ProtocolError, SeqError, ShapeError
from pulsetwin.export.patch import Changes, patch, patched
from pulsetwin.export.playable import check
from pulsetwin.export.seq_rules import text_faults
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.gradients import amplitude_at
from pulsetwin.sequences.seqfile import GX, RF, SeqFile, read_seq
from tests.export import siemens_cases as cases
from tests.sequences import made

PRISMA = Scanner.preset("siemens-prisma")
CORPUS = Path(__file__).resolve().parents[1] / "data" / "seq_corpus"
STORED = sorted(CORPUS.glob("*.seq.gz"))


def unpacked(path: Path, folder: Path) -> SeqFile:
    target = folder / path.name.removesuffix(".gz")
    target.write_bytes(gzip.decompress(path.read_bytes()))
    return read_seq(target)


def written(sequence: pp.Sequence, path: Path, version: str) -> SeqFile:
    write_siemens(sequence, path, scanner=PRISMA, version=version, definitions=cases.STATED)
    return read_seq(path)


def section_lines(text: bytes) -> dict[bytes, list[bytes]]:
    """Return the lines of each section, those of events by what they hold."""
    found: dict[bytes, list[bytes]] = {}
    name = b""
    for line in text.splitlines(keepends=True):
        if line.startswith((b"[", b"extension")):
            name = line
        found.setdefault(name, []).append(line)
    return found


def require_kept(old: bytes, new: bytes, blocks: set[int]) -> None:
    """Assert that lines differ only in `blocks` (numbers) and the hash, and that events are only appended."""
    before, after = section_lines(old), section_lines(new)
    assert before.keys() == after.keys()
    for name, lines in before.items():
        if name.startswith(b"[BLOCKS]"):
            assert len(lines) == len(after[name])
            differing = [line for line, other in zip(lines, after[name], strict=True) if line != other]
            assert {int(line.split()[0]) for line in differing} == blocks
        elif name.startswith(b"[SIGNATURE]"):
            assert [line for line in after[name] if b"Hash" not in line] == [x for x in lines if b"Hash" not in x]
        else:
            remaining = iter(after[name])
            assert all(line in remaining for line in lines), name  # in order: a subsequence


def pulses_scaled(seq: SeqFile, factor: float | np.ndarray) -> Changes:
    return Changes(rf_scale=np.where(seq.events[:, RF] != NONE, factor, 1.0))


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name.removesuffix(".seq.gz"))
def test_smaller_pulses_in_files_of_others(tmp_path, stored):
    """Of each file of the corpus (1.2 to 1.5, several writers), a third of the pulses is played weaker."""
    seq = unpacked(stored, tmp_path)
    old = seq.path.read_bytes()
    assert patched(seq, Changes()) == old
    assert patched(seq, pulses_scaled(seq, 1.0)) == old
    plays = np.nonzero(seq.events[:, RF] != NONE)[0][::3]
    scale = np.ones(len(seq))
    scale[plays[seq.rf.amplitude[seq.events[plays, RF]] > 0]] = 0.95
    turn = np.where(scale < 1, 0.25, 0.0)
    if seq.signature_valid is False:
        with pytest.raises(ProtocolError, match="edited after it was signed"):
            patched(seq, Changes(rf_scale=scale, rf_phase=turn))
        return
    new = patched(seq, Changes(rf_scale=scale, rf_phase=turn))
    (tmp_path / "new.seq").write_bytes(new)
    back = read_seq(tmp_path / "new.seq")
    require_kept(old, new, set(seq.number[scale < 1].tolist()))
    row, new_row = seq.events[:, RF], back.events[:, RF]
    has = row != NONE
    np.testing.assert_allclose(back.rf.amplitude[new_row[has]], (seq.rf.amplitude[row] * scale)[has], rtol=2e-9)
    moved = np.exp(1j * (back.rf.phase[new_row[has]] - seq.rf.phase[row[has]] - turn[has]))
    np.testing.assert_allclose(moved, 1, atol=2e-8)
    for name in ("magnitude", "phase_shape", "time_shape", "delay", "center", "freq", "duration", "use"):
        assert np.array_equal(getattr(back.rf, name)[new_row[has]], getattr(seq.rf, name)[row[has]]), name
    assert np.array_equal(back.events[:, GX:], seq.events[:, GX:])
    assert back.signature_valid == seq.signature_valid
    assert {fault.problem for fault in text_faults(back.path)} <= {fault.problem for fault in text_faults(seq.path)}


@pytest.mark.parametrize("version", ["1.4.1", "1.5"])
def test_signature_is_the_hash_of_the_text(tmp_path, version):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", version)
    new = patched(seq, pulses_scaled(seq, 0.8))
    body, _, tail = new.rpartition(b"\n[SIGNATURE]")
    assert f"Hash {hashlib.md5(body).hexdigest()}".encode() in tail


@pytest.mark.parametrize("version", ["1.4.1", "1.5"])
def test_pypulseq_reads_and_the_scanner_plays_it(tmp_path, version):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", version)
    plays = np.nonzero(seq.events[:, RF] != NONE)[0]
    scale, turn = np.ones(len(seq)), np.zeros(len(seq))
    scale[plays[1]], turn[plays[1]], turn[plays[2]] = 0.6, -3.0, 0.5
    report = patch(seq, Changes(rf_scale=scale, rf_phase=turn), tmp_path / "b.seq", scanner=PRISMA)
    assert report.playable
    assert check(tmp_path / "b.seq", PRISMA).playable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = pp.Sequence(PRISMA.opts), pp.Sequence(PRISMA.opts)
        old.read(str(seq.path))
        new.read(str(tmp_path / "b.seq"))
        for row in range(len(seq)):
            was, now = (one.get_block(row + 1) for one in (old, new))
            for axis in ("gx", "gy", "gz"):
                assert vars(was)[axis] is None or repr(vars(was)[axis]) == repr(vars(now)[axis])
            if was.rf is not None:
                np.testing.assert_allclose(now.rf.signal, scale[row] * was.rf.signal, rtol=1e-6, atol=1e-6)
                moved = now.rf.phase_offset - was.rf.phase_offset - turn[row]
                assert abs(np.exp(1j * moved) - 1) < 1e-5


def test_pulses_that_shared_an_event_share_the_new_one(tmp_path):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", "1.5")
    plays = np.nonzero(seq.events[:, RF] == seq.events[seq.events[:, RF] != NONE][0, RF])[0]
    scale = np.ones(len(seq))
    scale[plays[:2]], scale[plays[2]] = 0.5, 0.4
    (tmp_path / "b.seq").write_bytes(patched(seq, Changes(rf_scale=scale)))
    back = read_seq(tmp_path / "b.seq")
    events = back.events[plays, RF]
    assert len(back.rf) == len(seq.rf) + 2
    assert events[0] == events[1] != events[2]
    assert np.all(events[3:] == seq.events[plays[3:], RF])


def test_a_negative_factor_turns_the_pulse(tmp_path):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", "1.5")
    (tmp_path / "b.seq").write_bytes(patched(seq, pulses_scaled(seq, -0.5)))
    back = read_seq(tmp_path / "b.seq")
    row, new = (one.events[one.events[:, RF] != NONE, RF] for one in (seq, back))
    np.testing.assert_allclose(back.rf.amplitude[new], 0.5 * seq.rf.amplitude[row], rtol=2e-9)
    np.testing.assert_allclose(np.exp(1j * (back.rf.phase[new] - seq.rf.phase[row])), -1, atol=1e-8)


@pytest.mark.parametrize("version", ["1.4.1", "1.5"])
@pytest.mark.parametrize("make", [made.spin_echo, made.spiral], ids=["trapezoids and corners", "samples"])
def test_gradients(tmp_path, make, version):
    """Every second block's gradients are halved; what plays follows, values at the edges included."""
    path = tmp_path / "a.seq"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make().write(str(path), v141_compat=version == "1.4.1")
    seq = read_seq(path)
    scale = np.ones((len(seq), 3))
    scale[::2] = np.where(seq.events[::2, GX : GX + 3] != NONE, 0.5, 1)
    new = patched(seq, Changes(gradient_scale=scale))
    (tmp_path / "b.seq").write_bytes(new)
    back = read_seq(tmp_path / "b.seq")
    require_kept(path.read_bytes(), new, set(seq.number[np.any(scale != 1, axis=1)].tolist()))
    time = np.linspace(2e-5, 0.9, 200) * np.maximum(seq.block_duration, 1e-4)[:, None]
    for axis in range(3):
        was = amplitude_at(seq.gradients, seq.events[:, GX + axis], time) * scale[:, axis, None]
        now = amplitude_at(back.gradients, back.events[:, GX + axis], time)
        np.testing.assert_allclose(now, was, atol=3e-6 * max(np.abs(was).max(), 1))


@pytest.mark.parametrize("stored", ["pypulseq_gre.seq.gz", "pypulseq131_gre_label.seq.gz"])
def test_delays(tmp_path, stored):
    """Blocks that only wait, wait 1 ms longer, in a file with durations and in one with delays."""
    seq = unpacked(CORPUS / stored, tmp_path)
    waits = np.all(seq.events[:, :5] == NONE, axis=1) & (seq.block_duration > 0)
    assert waits.any()
    asked = np.where(waits, seq.block_duration + 1e-3, seq.block_duration)
    new = patched(seq, Changes(duration=asked))
    (tmp_path / "b.seq").write_bytes(new)
    back = read_seq(tmp_path / "b.seq")
    np.testing.assert_allclose(back.block_duration, asked, atol=1e-9)
    assert np.array_equal(back.events, seq.events)
    assert not any("TotalDuration" in note for note in back.warnings)


def test_line_ends_and_an_unsigned_file_stay(tmp_path):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", "1.4.1")
    text = seq.path.read_bytes().partition(b"\n[SIGNATURE]")[0].replace(b"\n", b"\r\n")
    (tmp_path / "crlf.seq").write_bytes(text)
    new = patched(read_seq(tmp_path / "crlf.seq"), pulses_scaled(seq, 0.8))
    assert new.count(b"\n") == new.count(b"\r\n") > text.count(b"\n")
    assert b"SIGNATURE" not in new


def test_what_cannot_be_is_refused(tmp_path):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", "1.4.1")
    with pytest.raises(ProtocolError, match="would be taken for an excitation at 81 degrees"):
        patched(seq, pulses_scaled(seq, 0.45))
    with pytest.raises(ShapeError, match="rf_scale"):
        patched(seq, Changes(rf_scale=np.ones(3)))
    with pytest.raises(ProtocolError, match="not finite"):
        patched(seq, Changes(rf_scale=np.full(len(seq), np.nan)))
    with pytest.raises(ProtocolError, match="has no pulse"):
        patched(seq, Changes(rf_scale=np.full(len(seq), 0.9)))
    with pytest.raises(ProtocolError, match="has no gradient along x"):
        patched(seq, Changes(gradient_scale=np.full((len(seq), 3), 0.9)))
    with pytest.raises(ProtocolError, match="block rasters"):
        patched(seq, Changes(duration=seq.block_duration + 1e-6))
    excites = np.append(seq.rf.use, "")[seq.events[:, RF]] == "e"
    with pytest.raises(ProtocolError, match="cannot be played by MAGNETOM Prisma"):
        patch(seq, pulses_scaled(seq, np.where(excites, 1, 50.0)), tmp_path / "b.seq", scanner=PRISMA)
    assert not (tmp_path / "b.seq").exists()
    with pytest.raises(OutputExistsError):
        patch(seq, Changes(), tmp_path / "a.seq", scanner=PRISMA)


def test_files_that_changed_are_refused(tmp_path):
    seq = written(cases.labelled_echo(), tmp_path / "a.seq", "1.4.1")
    edited = seq.path.read_bytes().replace(b"Name test", b"Name tost")
    (tmp_path / "edited.seq").write_bytes(edited)
    with pytest.raises(ProtocolError, match="edited after it was signed"):
        patched(read_seq(tmp_path / "edited.seq"), pulses_scaled(seq, 0.9))
    written(cases.gre_label(), tmp_path / "b.seq", "1.4.1").path.rename(seq.path)
    with pytest.raises(MismatchError, match="no longer the file"):
        patched(seq, Changes())
    seq.path.unlink()
    with pytest.raises(SeqError, match="cannot be read"):
        patched(seq, Changes())
