"""The `.seq` parser: shapes, versions 1.2 to 1.5.1, signatures, damaged files."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import SeqError
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import EXT, GX, GY, RF, read_seq
from pulsetwin.sequences.shapes import decode
from tests.sequences import made

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*.seq"))
SHARED = sorted((Path(__file__).parents[3] / "shared" / "data").rglob("*.seq"))
ONES = "shape_id 1\nnum_samples 4\n1\n0\n0\n1\n\nshape_id 2\nnum_samples 4\n0\n0\n2\n"


def save(tmp_path: Path, text: str, name: str = "a.seq") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("force", [True, False])
def test_shapes_decode_as_pypulseq_decodes_them(seed, force):
    rng = np.random.default_rng(seed)
    pieces = [np.linspace(*rng.uniform(0, 1, 2), rng.integers(1, 30)) for _ in range(6)] + [np.ones(9), rng.random(7)]
    wave = np.concatenate([pieces[i] for i in rng.permutation(8)])
    packed = pp.compress_shape.compress_shape(wave, force_compression=force)
    shape = decode(np.asarray(packed.data, float), packed.num_samples)
    np.testing.assert_allclose(shape.samples(), pp.decompress_shape.decompress_shape(packed), atol=1e-12)
    np.testing.assert_allclose(shape.samples(), wave, atol=2e-7)


def test_a_shape_as_long_as_its_code_is_packed_before_1_4():
    code = np.array([0.5, 0.5, 1.0])
    np.testing.assert_allclose(decode(code, 3, always_packed=True).samples(), [0.5, 1.0, 1.5])
    np.testing.assert_allclose(decode(code, 3).samples(), code)


@pytest.mark.parametrize("code", [[1, 1], [1, 1, -3], [1, 1, 0.5], [1, 1, 1e300], [1, np.nan], []])
def test_bad_shapes_raise(code):
    with pytest.raises(ValueError, match=r"count|decodes|finite|no numbers"):
        decode(np.array(code, float), 7)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_real_files_verify_and_last_as_long_as_they_say(path):
    seq = read_seq(path)
    assert seq.version == (1, 4, 0)
    assert seq.signature_valid
    assert seq.warnings == ()
    assert seq.duration == pytest.approx(seq.definitions["TotalDuration"], abs=1e-9)
    assert len(seq.definitions["FOV"]) == 3


@pytest.mark.parametrize("path", SHARED or [pytest.param(None, marks=pytest.mark.skip("no shared data"))], ids=str)
def test_every_file_of_the_corpus_reads_at_once(path):
    start = time.process_time()
    seq = read_seq(path)
    assert time.process_time() - start < 2
    assert len(seq) > 0
    assert np.all(np.isfinite(seq.rf.flip))


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_both_versions_of_pypulseq_give_the_same_sequence(tmp_path, version):
    source = made.spin_echo()
    seq = read_seq(made.write(source, tmp_path / "a.seq", version))
    assert seq.signature_valid
    assert ".".join(map(str, seq.version)) == version
    assert seq.duration == pytest.approx(source.duration()[0])
    assert seq.rf.use.tolist() == ["e", "r"]
    np.testing.assert_allclose(np.rad2deg(seq.rf.flip), [90, 180], atol=0.05)
    for row, block in enumerate(source.block_events):
        played = source.get_block(block)
        assert seq.block_duration[row] == pytest.approx(played.block_duration)
        for axis, name in ((GX, "gx"), (GY, "gy")):
            gradient = getattr(played, name)
            assert (gradient is None) == (seq.events[row, axis] == NONE)
            if gradient is not None:
                assert seq.gradients.area[seq.events[row, axis]] == pytest.approx(gradient.area, rel=1e-5)
        if played.rf is not None:
            assert seq.rf.center[seq.events[row, RF]] == pytest.approx(played.rf.center, abs=1e-6)


def test_version_1_3_takes_durations_from_events_and_delays(tmp_path):
    text = made.text(
        "1.3.1post1",
        " 1 1 0 0 0 0 0 0\n 2 0 1 0 0 2 0 0\n 3 2 0 1 0 0 1 0\n",
        rf="1 250 1 2 100 50 0.5\n",
        trap="1 1000 100 800 100 20\n",
        gradients="2 500 1 30\n",
        adc="1 16 50000 40 0 0\n",
        delays="1 5000\n2 1500\n",
        shapes=ONES,
    )
    seq = read_seq(save(tmp_path, text))
    assert seq.version == (1, 3, 1)
    np.testing.assert_allclose(seq.block_duration, [5e-3, 104e-6, 1.5e-3])
    np.testing.assert_allclose(seq.rf.flip, 2 * np.pi * 250 * 4e-6)
    np.testing.assert_allclose((seq.rf.delay[0], seq.rf.freq[0], seq.rf.phase[0]), (100e-6, 50, 0.5))
    assert seq.gradients.area[seq.events[2, GX]] == pytest.approx(0.9)


def test_version_1_2_has_blocks_without_extensions(tmp_path):
    text = made.text(
        "1.2.1", "1 0 1 0 0 0 0\n2 0 0 0 0 0 1\n", rf="1 250 1 2 0 0 0\n", adc="1 8 1000 0 0 0\n", shapes=ONES
    )
    seq = read_seq(save(tmp_path, text))
    assert np.all(seq.events[:, EXT] == NONE)
    np.testing.assert_allclose(seq.block_duration, [4e-6, 8e-6])


def test_a_pulse_of_an_hour_stays_two_corners(tmp_path):
    shape = "shape_id 1\nnum_samples 3600000000\n1\n0\n0\n3599999997\n"
    text = made.text("1.3.1", "1 0 1 0 0 0 0 0\n", rf="1 100 1 0 0 0 0\n", shapes=shape)
    seq = read_seq(save(tmp_path, text))
    assert len(seq.shapes[0].index) <= 3
    assert seq.rf.flip[0] == pytest.approx(2 * np.pi * 100 * 3600)
    assert seq.rf.center[0] == pytest.approx(1800)
    assert seq.rf.duration[0] == pytest.approx(3600)


def test_oversampled_gradients_sit_on_half_the_raster(tmp_path):
    shape = "shape_id 1\nnum_samples 5\n0.25\n0.5\n1\n0.5\n0.25\n"
    text = made.text("1.5.1", "1 3 0 1 0 0 0 0\n", gradients="1 4000 0 0 1 -1 0\n", shapes=shape)
    seq = read_seq(save(tmp_path, text))
    when, value = seq.gradients.points(0)
    np.testing.assert_allclose(when, 5e-6 * np.arange(7), atol=1e-12)
    np.testing.assert_allclose(value, [0, 1000, 2000, 4000, 2000, 1000, 0])
    assert seq.gradients.area[0] == pytest.approx(10000 * 5e-6)


def test_edges_of_arbitrary_gradients(tmp_path):
    shape = "shape_id 1\nnum_samples 3\n0.5\n1\n1\n"
    text = made.text("1.5.0", "1 3 0 1 0 0 0 0\n", gradients="1 100 20 90 1 0 0\n", shapes=shape)
    when, value = read_seq(save(tmp_path, text)).gradients.points(0)
    np.testing.assert_allclose(when, np.array([0, 5, 15, 25, 30]) * 1e-6, atol=1e-12)
    np.testing.assert_allclose(value, [20, 50, 100, 100, 90])


def test_edges_before_1_5_continue_the_block_before(tmp_path):
    shapes = "\n\n".join(
        f"shape_id {number}\nnum_samples {len(values.split())}\n" + values.replace(" ", "\n")
        for number, values in ((1, "0 1"), (2, "0 3"), (3, "1 0.5 0.25"))
    )
    text = made.text(
        "1.4.1",
        "1 3 0 1 0 0 0 0\n2 3 0 2 0 0 0 0\n3 3 0 0 2 0 0 0\n",
        gradients="1 100 1 2 0\n2 100 3 0 0\n",
        shapes=shapes,
    )
    seq = read_seq(save(tmp_path, text))
    assert seq.gradients.first[1] == 100
    assert seq.gradients.last[1] == pytest.approx(100 * (3 * 0.25 - 0.5) / 2)


def test_unknown_extensions_are_kept_and_told(tmp_path):
    extensions = "1 7 1 0\n\nextension MAGIC 7\n1 abc def\n"
    seq = read_seq(save(tmp_path, made.text("1.5.1", "1 3 0 0 0 0 0 1\n", extensions=extensions)))
    assert seq.extensions.unknown == (("MAGIC",),)
    assert any("MAGIC" in warning for warning in seq.warnings)


def test_soft_delays_triggers_and_shims(tmp_path):
    extensions = (
        "1 1 1 2\n2 2 1 3\n3 3 1 0\n\nextension DELAYS 1\n1 0 -500 2.5 TE\n\n"
        "extension TRIGGERS 2\n1 2 1 10 200\n\nextension RF_SHIMS 3\n1 2 1 0 0.5 1.5707963\n"
    )
    seq = read_seq(save(tmp_path, made.text("1.5.1", "1 3 0 0 0 0 0 1\n", extensions=extensions)))
    assert seq.extensions.soft_delays[0] == ((0, pytest.approx(-500e-6), 2.5, "TE"),)
    assert seq.extensions.triggers[0][0] == pytest.approx((2, 1, 10e-6, 200e-6))
    np.testing.assert_allclose(seq.extensions.shims[0][0], [1, 0.5j], atol=1e-7)


def test_definitions_are_parsed(tmp_path):
    seq = read_seq(
        save(tmp_path, made.text("1.4.0", "1 3 0 0 0 0 0 0\n", definitions="FOV 0.2 0.1 0.005\nName übung 3\n"))
    )
    assert seq.definitions["FOV"] == (0.2, 0.1, 0.005)
    assert seq.definitions["Name"] == "übung 3"


def test_signature_of_crlf_files(tmp_path):
    path = made.write(made.spiral(), tmp_path / "a.seq", "1.5.0")
    unix = path.read_bytes()
    windows = save(tmp_path, unix.decode().replace("\n", "\r\n"), "b.seq")
    assert read_seq(windows).signature_valid
    changed = save(tmp_path, unix.decode().replace("Hash ", "Hash 0"), "c.seq")
    assert read_seq(changed).signature_valid is False


def test_edited_files_do_not_verify(tmp_path):
    path = tmp_path / "a.seq"
    path.write_bytes(EXAMPLES[0].read_bytes().replace(b"FOV 0.22", b"FOV 0.24"))
    seq = read_seq(path)
    assert seq.signature_valid is False
    assert "edited" in seq.warnings[0]


GOOD = made.text(
    "1.5.0",
    "1 100 1 1 0 0 0 0\n2 100 0 0 2 0 1 1\n",
    rf="1 250 1 2 0 2 0 0 0 0 0 e\n",
    trap="1 1000 100 800 0 0\n",
    gradients="2 500 0 0 1 0 0\n",
    adc="1 8 1000 0 0 0 0 0 0\n",
    extensions="1 1 1 0\n\nextension LABELSET 1\n1 3 LIN\n",
    shapes=ONES,
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[VERSION]\nmajor 1\nminor 5\nrevision 0\n", "", r"no \[VERSION\]"),
        ("minor 5", "minor 9", "not supported"),
        ("minor 5", "minor x", "whole numbers"),
        ("1 100 1 1 0", "1 100 4 1 0", "block 1 plays RF event 4"),
        ("1 100 1 1 0", "1 -100 1 1 0", "duration -100"),
        ("1 100 1 1 0", "1 1e400 1 1 0", r"not finite|not a whole"),
        ("1 100 1 1 0 0 0 0", "1 100 1 1 0 0 0", r"line 15, \[BLOCKS\]: 7 columns"),
        ("2 100 0 0 2 0 1 1", "2 100 0 0 2 0 x 1", r"line 16, \[BLOCKS\]: 'x' is not a number"),
        ("2 100 0 0 2", "1 100 0 0 2", "block 1 is defined twice"),
        ("2 0 1 1\n", "2 0 1 9\n", "leads to 9"),
        ("1 1 1 0\n\next", "1 1 1 1\n\next", "circle"),
        ("1 3 LIN", "1 a LIN", "cannot be read"),
        ("0 e", "0 q", "use of the pulse"),
        ("1 250 1 2", "1 250 0 2", "no magnitude"),
        ("2 500 0 0 1", "2 500 0 0 5", "shape 5 is not in"),
        ("2 500 0 0 1 0 0", "2 500 0 0 1 -1 0", "odd number"),
        ("1 8 1000", "1 8.5 1000", "number of samples 8.5"),
        ("1 8 1000", "1 8 -1000", "dwell time .* negative"),
        ("num_samples 4\n0", "num_samples 5\n0", "decodes to 4 samples where"),
        ("num_samples 4\n0", "num_samples 4\nabc", "shape 2 cannot be read"),
        ("[SHAPES]", "[SHAPES", "magnitude shape 1 is not in"),
        ("[TRAP]", "[TRUP]", "no section"),
        ("GradientRasterTime 1e-05", "GradientRasterTime 0", "is no time"),
    ],
)
def test_damage_is_named(tmp_path, old, new, message):
    assert old in GOOD
    read_seq(save(tmp_path, GOOD))
    with pytest.raises(SeqError, match=message):
        read_seq(save(tmp_path, GOOD.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\0\1\2", "binary"),
        (b"hello", "not a Pulseq"),
        (b"[BLOCKS]\n", "VERSION"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.seq"
    path.write_bytes(content)
    with pytest.raises(SeqError, match=message):
        read_seq(path)
    with pytest.raises(SeqError, match="cannot be read"):
        read_seq(tmp_path / "none.seq")


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file: flip, cut, repeat, drop or swap bytes and lines."""
    kind, at = rng.integers(6), int(rng.integers(len(data)))
    size = int(rng.integers(1, 200))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[at + size :]
    if kind == 2:
        return data[:at] + data[at : at + size] + data[at:]
    if kind == 3:
        return data[:at] + bytes(rng.integers(0, 256, min(size, 8), dtype=np.uint8)) + data[at + 8 :]
    if kind == 4:
        lines = data.split(b"\n")
        one, two = rng.integers(len(lines), size=2)
        lines[one], lines[two] = lines[two], lines[one]
        return b"\n".join(lines)
    digits = np.frombuffer(data, np.uint8).copy()
    where = np.nonzero((digits >= 48) & (digits < 58))[0]
    digits[rng.choice(where, 3)] = rng.choice(np.frombuffer(b"0123456789-.e ", np.uint8), 3)
    return digits.tobytes()


def survive(source: bytes, path: Path, rounds: int, seed: int) -> int:
    """Read damaged copies; return how many still read. Anything but a SeqError fails the test."""
    from pulsetwin.export.playable import check
    from pulsetwin.scanner import Scanner
    from pulsetwin.sequences.readouts import played_readouts

    lengths: list[int] = [0]
    rng, read, scanner = np.random.default_rng(seed), 0, Scanner.preset("siemens-prisma")
    for _ in range(rounds):
        path.write_bytes(mutate(source, rng))
        start = time.process_time()
        try:
            seq = read_seq(path)
        except SeqError as caught:
            lengths.append(len(str(caught)))
        else:
            played = played_readouts(seq)
            few = [at for at in range(min(len(played), 2)) if played.num_samples[at] < 10**6]
            for at in few:
                played.trajectory(np.array([at]))
            check(seq, scanner)
            read += 1
        assert time.process_time() - start < 5
    assert max(lengths) < 400 + len(str(path))
    return read


@pytest.mark.parametrize("version", ["1.3.1", "1.4.1", "1.5.0"])
def test_damaged_files_never_crash(tmp_path, version):
    if version == "1.3.1":
        blocks = "1 1 0 0 0 0 0 0\n2 0 1 0 0 2 0 0\n3 2 0 1 0 0 1 0\n"
        parts = {"rf": "1 250 1 2 100 50 0.5\n", "trap": "1 1000 100 800 100 20\n", "gradients": "2 500 1 30\n"}
        source = made.text("1.3.1", blocks, adc="1 16 50000 40 0 0\n", delays="1 5000\n2 1500\n", shapes=ONES, **parts)
        data = source.encode()
    else:
        data = made.write(made.spin_echo(2), tmp_path / "s.seq", version).read_bytes()
    assert survive(data, tmp_path / "a.seq", 250, 1) < 250


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_damaged_real_files_never_crash(tmp_path, path):
    survive(path.read_bytes(), tmp_path / "a.seq", 400, 2)
