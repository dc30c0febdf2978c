"""Which part of a sequence a diagram shows: a repetition, by its pulses, blocks or times; and the verb `plot`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin import cli
from pulsetwin.errors import ProtocolError
from pulsetwin.export.diagram_window import repetitions, window_of_blocks, window_of_repetition, window_of_time
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import bssfp, epi, flash, mprage, qalas, rare
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import RF, read_seq
from tests.sequences import made

PRISMA = Scanner.preset("siemens-prisma")
EPI = Path(__file__).parents[2] / "examples" / "data" / "pulseq_epi" / "ramp_epi_pe_plus.seq"
BLOCK = "shape_id 1\nnum_samples 2\n1\n1\n"


def stored(sequence, folder, version):
    """Write and read a sequence: the uses of pulses are in 1.5 and not in 1.4.1."""
    return read_seq(made.write(sequence, folder / "a.seq", version))


def begins(seq):
    return seq.block_start[repetitions(seq, played_readouts(seq))]


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_dummies_begin_no_repetition_and_repetitions_are_a_tr_apart(tmp_path, version):
    protocol = flash.Protocol(matrix=(32, 12, 1), tr=10e-3, dummies=5)
    when = begins(stored(flash.build(protocol, PRISMA), tmp_path, version))
    assert len(when) == 12
    assert np.allclose(np.diff(when), 10e-3)
    assert when[0] == pytest.approx(5 * 10e-3, abs=1e-3)


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_an_inversion_begins_its_train(tmp_path, version):
    protocol = mprage.Protocol(fov=(0.2, 0.1, 0.08), matrix=(32, 4, 6), tr=1.2, ti=0.5, dummies=1)
    seq = stored(mprage.build(protocol, PRISMA), tmp_path, version)
    when = begins(seq)
    assert np.allclose(np.diff(when), 1.2)
    assert when[0] == pytest.approx(1.2, abs=1e-3)
    window = window_of_repetition(seq, played_readouts(seq), 2)
    played = played_readouts(seq)
    inside = (played.start_time > window.start) & (played.start_time < window.stop)
    assert inside.sum() == 6
    assert set(played.labels["LIN"][inside]) == {1}
    assert seq.rf.duration[seq.events[np.searchsorted(seq.block_start, window.start - 1e-9), RF]] > 5e-3


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_preparations_that_take_turns_make_one_repetition(tmp_path, version):
    protocol = qalas.Protocol(matrix=(32, 24, 20), train=8, calibration=4, dummies=1, acceleration=1.5)
    seq = stored(qalas.build(protocol, PRISMA), tmp_path, version)
    when = begins(seq)
    assert len(when) > 2
    assert np.allclose(np.diff(when), protocol.tr, atol=1e-9)
    assert when[0] == pytest.approx(protocol.tr, abs=1e-3)


def test_intervals_that_take_turns_make_one_repetition_but_not_of_slices(tmp_path):
    """Pulses 1 and 5 ms apart by turns: pairs, unless they excite two slices."""
    rf = "1 500 1 0 0 1 10 0 0 0 0 e\n2 500 1 0 0 1 10 0 0 700 0 e\n"
    path, found = tmp_path / "a.seq", []
    for second in (1, 2):
        blocks = "".join(
            f"{4 * n + 1} 10 1 0 0 0 0 0\n{4 * n + 2} 90 0 1 0 0 1 0\n"
            f"{4 * n + 3} 10 {second} 0 0 0 0 0\n{4 * n + 4} 490 0 1 0 0 1 0\n"
            for n in range(5)
        )
        trap, adc = "1 100000 50 500 50 20\n", "1 4 10000 100 0 0 0 0 0\n"
        path.write_text(made.text("1.5.0", blocks, rf=rf, trap=trap, adc=adc, shapes=BLOCK))
        found.append(begins(read_seq(path)))
    assert np.allclose(found[0], 6e-3 * np.arange(5))
    assert np.allclose(found[1], np.sort([6e-3 * np.arange(5), 6e-3 * np.arange(5) + 1e-3], axis=None))


@pytest.mark.parametrize(
    ("build", "protocol", "readouts"),
    [
        (rare.build, rare.Protocol(matrix=(32, 16), train=4), 4),
        (epi.build, epi.Protocol(matrix=(32, 32)), 35),
        (bssfp.build, bssfp.Protocol(matrix=(32, 16, 1), dummies=4), 1),
    ],
    ids=["rare", "epi", "bssfp"],
)
def test_echo_trains_belong_to_their_excitation(tmp_path, build, protocol, readouts):
    seq = stored(build(protocol, PRISMA), tmp_path, "1.4.1")
    played = played_readouts(seq)
    window = window_of_repetition(seq, played)
    assert np.sum((played.start_time > window.start) & (played.start_time < window.stop)) == readouts


def test_a_label_may_tell_where_repetitions_begin(tmp_path):
    rf, adc = "1 500 1 0 0 1 10 0 0 0 0 e\n", "1 4 10000 100 0 0 0 0 0\n"
    trid = "1 1 1 0\n\nextension LABELSET 1\n1 1 TRID\n"
    blocks = "".join(f"{2 * n + 1} 10 1 0 0 0 0 {int(n % 3 == 0)}\n{2 * n + 2} 90 0 0 0 0 1 0\n" for n in range(9))
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.0", blocks, rf=rf, adc=adc, shapes=BLOCK, extensions=trid))
    assert np.allclose(begins(read_seq(path)), [0, 3e-3, 6e-3])


def test_without_pulses_acquisitions_that_follow_one_another_are_one_repetition(tmp_path):
    blocks = "".join(
        f"{3 * n + 1} 500 0 0 0 0 0 0\n{3 * n + 2} 90 0 0 0 0 1 0\n{3 * n + 3} 90 0 0 0 0 1 0\n" for n in range(4)
    )
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.0", blocks, adc="1 4 10000 100 0 0 0 0 0\n"))
    assert np.allclose(begins(read_seq(path)), 6.8e-3 * np.arange(4))


def test_blocks_are_those_of_pypulseq():
    reader = pp.Sequence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.read(str(EPI))
    ends = np.cumsum([reader.block_durations[n] for n in sorted(reader.block_durations)])
    window = window_of_blocks(read_seq(EPI), 20, 25)
    assert (window.start, window.stop) == (pytest.approx(ends[18]), pytest.approx(ends[24]))


def test_ranges_outside_the_file_are_refused():
    seq = read_seq(EPI)
    played = played_readouts(seq)
    with pytest.raises(ProtocolError, match=f"no block 4000; the file has 1 to {len(seq)}"):
        window_of_blocks(seq, 3, 4000)
    with pytest.raises(ProtocolError, match="block 3 plays before block 9"):
        window_of_blocks(seq, 9, 3)
    with pytest.raises(ProtocolError, match="give 1 to 1"):
        window_of_repetition(seq, played, 2)
    for start, stop in ((5, 6), (0.02, 0.01), (-2, -1)):
        with pytest.raises(ProtocolError, match="holds no block"):
            window_of_time(seq, start, stop)


@pytest.mark.parametrize(
    ("suffix", "options", "said"),
    [
        (".svg", ("--blocks", "20..25"), "blocks 20 to 25"), (".html", (), "repetition 1 of 1"),
        (".html", ("--time", "10ms..0.02"), "10 to 20 ms"),
        (".html", ("--tr", "1", "--scanner", "siemens-prisma"), "repetition 1 of 1"),
    ],
)  # fmt: skip
def test_plot_tells_what_it_draws(tmp_path, capsys, suffix, options, said):
    assert cli.main(["plot", str(EPI), "-o", str(tmp_path / f"a{suffix}"), *options]) == 0
    assert said in capsys.readouterr().out
    assert said in (tmp_path / f"a{suffix}").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-o", "a.pdf"), ".png, .svg, .html"),
        (("-o", "a.png", "--tr", "7"), "give 1 to 1"),
        (("-o", "a.png", "--tr", "0"), "give 1 to 1"),
        (("-o", "a.png", "--blocks", "0..5"), "no block 0"),
        (("-o", "a.png", "--scanner", "siemens-prism"), "siemens-prisma"),
    ],
)
def test_plot_refuses_what_it_cannot_draw(tmp_path, capsys, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plot", str(EPI), *options]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [("--blocks", "5"), ("--time", "a..b"), ("--tr", "1", "--blocks", "1..2")])
def test_plot_refuses_ranges_it_cannot_read(tmp_path, capsys, options):
    with pytest.raises(SystemExit):
        cli.main(["plot", str(EPI), "-o", str(tmp_path / "a.png"), *options])
    assert "usage" in capsys.readouterr().err
