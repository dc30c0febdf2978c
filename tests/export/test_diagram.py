"""Sequence diagrams: windows, curves and k-space."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.diagram import diagram
from pulsetwin.export.diagram_kspace import kspace
from pulsetwin.export.diagram_rows import BINS, content, envelope, joined
from pulsetwin.export.diagram_window import window_of_blocks, window_of_repetition, window_of_time
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sequences.waveforms import _strongest, pulse, waveforms
from tests.sequences import made

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
EPI = EXAMPLES / "pulseq_epi" / "ramp_epi_pe_plus.seq"


@pytest.mark.parametrize("name", ["pulseq_epi/ramp_epi_pe_plus", "pulseq_epi/basic_epi_pe_none", "pulseq_se/image"])
def test_real_files_are_drawn(tmp_path, name):
    figure = diagram(read_seq(EXAMPLES / f"{name}.seq"), scanner=Scanner.preset("siemens-prisma"))
    figure.savefig(tmp_path / "a.png", dpi=50)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    labels = [axes.get_ylabel() for axes in figure.subfigs[0].axes]
    assert [label.split("\n")[0] for label in labels] == ["|B₁|", "phase", "Gx", "Gy", "Gz", "ADC"]


@pytest.mark.parametrize("make", [made.spin_echo, made.spiral, lambda: made.gradient_echo(4, 4)])
def test_made_sequences_are_drawn(tmp_path, make):
    diagram(read_seq(made.write(make(), tmp_path / "a.seq", "1.5.0"))).savefig(tmp_path / "a.png", dpi=50)


def test_a_whole_scan_with_labels_is_drawn(tmp_path):
    seq = read_seq(made.write(made.gradient_echo(8, 8), tmp_path / "a.seq", "1.5.0"))
    figure = diagram(seq, window=window_of_time(seq, 0.0, seq.duration))
    assert len(figure.subfigs[0].axes) == 7
    names = [text.get_text() for text in figure.subfigs[0].axes[6].get_yticklabels()]
    assert set(names) == {"LIN", "PAR"}


def test_the_first_repetition_of_a_spin_echo_ends_before_the_pause():
    seq = read_seq(EXAMPLES / "pulseq_se" / "image.seq")
    window = window_of_repetition(seq, played_readouts(seq))
    assert (window.start, window.stop) == (0.0, pytest.approx(61.7e-3))


def test_dummy_scans_are_left_out(tmp_path):
    blocks = "".join(f"{2 * n + 1} 10 1 0 0 0 0 0\n{2 * n + 2} 90 0 0 0 0 {int(n > 20)} 0\n" for n in range(30))
    rf = "1 500 1 0 0 1 10 0 0 0 0 e\n"
    path = tmp_path / "a.seq"
    path.write_text(
        made.text("1.5.0", blocks, rf=rf, adc="1 4 10000 100 0 0 0 0 0\n", shapes="shape_id 1\nnum_samples 2\n1\n1\n")
    )
    seq = read_seq(path)
    window = window_of_repetition(seq, played_readouts(seq))
    assert (window.start, window.stop) == (pytest.approx(21e-3), pytest.approx(22e-3))


def test_waveforms_hold_the_gradient_area(tmp_path):
    source = made.spiral()
    seq = read_seq(made.write(source, tmp_path / "a.seq", "1.5.0"))
    waves = waveforms(seq, 0.0, seq.duration)
    for axis in range(3):
        when, value = waves.gradients[axis]
        assert np.all(np.diff(when) >= 0)
        area = np.sum((value[1:] + value[:-1]) / 2 * np.diff(when))
        used = seq.events[:, 1 + axis]
        assert area == pytest.approx(seq.gradients.area[used[used >= 0]].sum(), rel=1e-9, abs=1e-9)
    assert len(waves.adc_start) == 3


def test_rotated_waveforms_are_turned(tmp_path):
    half = np.sqrt(0.5)
    extensions = f"1 1 1 0\n\nextension ROTATIONS 1\n1 {half} 0 0 {half}\n"
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.5.1", "1 110 0 1 0 0 0 1\n", trap="1 100000 50 900 50 20\n", extensions=extensions))
    waves = waveforms(read_seq(path), 0.0, 1e-3)
    assert np.abs(waves.gradients[0][1]).max() < 1e-6
    assert waves.gradients[1][1].max() == pytest.approx(100000)


def test_long_curves_keep_their_extremes():
    when = np.linspace(0, 1, 200_001)
    value = np.sin(2 * np.pi * 977 * when)
    value[123_456] = 7
    few, curve = envelope(when, value, 0, 1)
    assert len(few) <= 4 * BINS
    assert (curve.max(), curve.min()) == (7, pytest.approx(-1, abs=1e-3))
    for start, stop in itertools.pairwise([*np.linspace(0, 1, BINS + 1)[:-1], 1.1]):
        inside, kept = (value[(when >= start) & (when < stop)], curve[(few >= start) & (few < stop)])
        assert (kept[0], kept.min(), kept.max(), kept[-1]) == (inside[0], inside.min(), inside.max(), inside[-1])


def lines(axes, style):
    return sorted(float(line.get_ydata()[0]) for line in axes.lines if line.get_linestyle() == style)


def test_limits_are_dashed_lines_or_told_where_they_are_far():
    scanner = replace(Scanner.preset("siemens-prisma"), max_gradient=20e-3, max_b1=3e-6)
    rows = diagram(read_seq(EPI), scanner=scanner).subfigs[0].axes
    assert lines(rows[0], "--") == [pytest.approx(3)]
    assert lines(rows[2], "--") == [pytest.approx(-20), pytest.approx(20)]
    rows = diagram(read_seq(EPI), scanner=replace(scanner, max_gradient=5.0)).subfigs[0].axes
    assert lines(rows[2], "--") == []
    assert "limit\n5e+03 mT/m" in [text.get_text() for text in rows[2].texts]
    assert not any(lines(axes, "--") for axes in diagram(read_seq(EPI)).subfigs[0].axes)


def test_the_range_that_is_asked_for_is_drawn():
    seq = read_seq(EPI)
    window = window_of_blocks(seq, 20, 25)
    figure = diagram(seq, window=window)
    low, high = figure.subfigs[0].axes[0].get_xlim()
    assert 1e3 * window.stop < high < 1.02 * 1e3 * window.stop
    assert 0.98 * 1e3 * window.start < low < 1e3 * window.start
    assert "blocks 20 to 25" in figure.get_suptitle()
    assert not figure.subfigs[0].axes[-1].xaxis.get_major_formatter().get_useOffset()


def test_curves_are_those_of_pypulseq(tmp_path):
    """Gradients at any time, and the RF where it is largest, of a whole scan with RF spoiling and rotating arms."""
    sequence = made.gradient_echo(4, 3)
    seq = read_seq(made.write(sequence, tmp_path / "a.seq", "1.5.0"))
    shown = content(seq, window_of_time(seq, 0, seq.duration))
    theirs = sequence.waveforms_and_times(append_RF=True)[0]
    when = np.random.default_rng(1).uniform(0, seq.duration, 500)
    for row, wave in zip(shown.rows[2:], theirs[:3], strict=True):
        wanted = 1e3 * np.interp(when, wave[0].real, wave[1].real) / 42.576e6
        assert np.allclose(np.interp(when, row.time, row.value), wanted, atol=1e-6 * np.abs(row.value).max())
    assert shown.rows[0].value.max() == pytest.approx(1e6 * np.abs(theirs[3][1]).max() / 42.576e6)


def test_of_many_pulses_each_keeps_its_peak(tmp_path):
    seq = read_seq(made.write(made.spin_echo(3), tmp_path / "a.seq", "1.5.0"))
    waves = waveforms(seq, 0.0, seq.duration)
    few = _strongest(*pulse(seq, 0), 10)
    assert len(few[0]) <= 10
    assert np.abs(few[1]).max() == np.abs(pulse(seq, 0)[1]).max() == pytest.approx(seq.rf.amplitude[0], rel=1e-6)
    assert np.isnan(waves.rf).sum() == 2 * 6


def test_the_window_is_marked_in_k_space_unless_it_is_all(tmp_path):
    seq = read_seq(made.write(made.gradient_echo(8, 8), tmp_path / "a.seq", "1.5.0"))
    played = played_readouts(seq)
    one = kspace(played, window_of_repetition(seq, played, 3))
    assert (one.positions.shape, one.order[one.marked].tolist(), one.axes) == ((64, 1, 3), [2], (1, 2))
    every = kspace(played, window_of_time(seq, 0, seq.duration))
    assert not np.any(every.marked)
    arms = read_seq(made.write(made.spiral(4), tmp_path / "b.seq", "1.5.0"))
    paths = kspace(played_readouts(arms), window_of_time(arms, 0, 8e-3), points=500)
    assert (len(paths.positions), paths.marked.tolist(), paths.axes) == (4, [True, False, False, False], (0, 1))
    assert paths.positions.shape[1] <= 500 // 4 + 2


def test_acquisitions_without_a_visible_gap_are_one():
    spans = np.array([[0, 1], [1.05, 2], [2.5, 3.0]])
    assert joined(spans, 0.1).tolist() == [[0, 2], [2.5, 3]]
    assert joined(spans[:0], 0.1).shape == (0, 2)


def test_empty_windows_are_refused(tmp_path):
    seq = read_seq(made.write(made.spiral(), tmp_path / "a.seq", "1.5.0"))
    with pytest.raises(ProtocolError, match="holds no block"):
        diagram(seq, window=window_of_time(seq, 5.0, 6.0))


def test_matplotlib_is_imported_late():
    code = "import sys, pulsetwin.export.diagram, pulsetwin.export.playable; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code + "; assert not {'torch', 'pypulseq'} & set(sys.modules)"], check=True)
