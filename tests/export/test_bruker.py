"""Export to Bruker: what the public interpreter loads is what was designed; what it cannot play is refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import FileError, MismatchError, OutputExistsError, ProtocolError
from pulsetwin.export.bruker import bruker_path, index_path, write_bruker
from pulsetwin.export.bruker_index import read_index
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.export import bruker_cases as cases
from tests.export.siemens_cases import read_by_pypulseq


def write(seq, path, **options):
    stated = cases.STATED | options.pop("definitions", {})
    return write_bruker(seq, path, scanner=cases.BIOSPEC, definitions=stated, **options)


def test_the_interpreter_loads_what_was_designed(tmp_path):
    asked = cases.gradient_echo()
    write(asked, tmp_path / "gre.seq")
    loaded = cases.interpreted(tmp_path / "gre_seq")
    played = [block for block in map(asked.get_block, asked.block_events) if block.block_duration]
    assert len(loaded.blocks) == len(played)
    assert (loaded.name, loaded.fov) == ("test", cases.STATED["FOV"])
    for row, block in zip(loaded.blocks, played, strict=True):
        assert row[1] == pytest.approx(block.block_duration / 10e-6)
        assert (row[2] > 0, row[6] > 0, row[7]) == (block.rf is not None, block.adc is not None, 0)
        for column, axis in ((3, "gx"), (4, "gy"), (5, "gz")):
            check_trapezoid(loaded, row[column], getattr(block, axis))
        if block.rf is not None:
            check_pulse(loaded, row[2], block.rf)
        if block.adc is not None:
            check_acquisition(loaded, row[6], block.adc)


def test_pypulseq_reads_the_same(tmp_path):
    asked = cases.gradient_echo()
    write(asked, tmp_path / "gre")
    read = read_by_pypulseq(tmp_path / "gre", cases.SYSTEM)
    played = [block for block in map(asked.get_block, asked.block_events) if block.block_duration]
    for before, after in zip(played, map(read.get_block, read.block_events), strict=True):
        if before.rf is not None:
            np.testing.assert_allclose(after.rf.signal, before.rf.signal, rtol=0, atol=1e-4)
            check_phase(after.rf.phase_offset, before.rf.phase_offset)
        for axis in ("gx", "gy", "gz"):
            gradients = getattr(before, axis), getattr(after, axis)
            assert (gradients[0] is None) == (gradients[1] is None)
            if gradients[0] is not None:
                assert gradients[1].area == pytest.approx(gradients[0].area, rel=1e-6, abs=1e-6)
        assert (after.adc.num_samples if after.adc else 0) == (before.adc.num_samples if before.adc else 0)


def check_trapezoid(loaded, event, asked):
    assert (event > 0) == (asked is not None)
    if asked is not None:
        number, amplitude, *times = loaded.trap[int(event) - 1]
        assert number == event
        assert amplitude == pytest.approx(asked.amplitude, rel=1e-6, abs=1e-6)
        assert times == pytest.approx(
            [1e6 * t for t in (asked.rise_time, asked.flat_time, asked.fall_time, asked.delay)]
        )


def check_pulse(loaded, event, asked):
    number, amplitude, magnitude, phase, time, delay, freq, offset = loaded.rf[int(event) - 1]
    assert (number, time) == (event, 0)
    wave = amplitude * np.array(loaded.shapes[magnitude]) * np.exp(2j * np.pi * np.array(loaded.shapes[phase]))
    np.testing.assert_allclose(wave, asked.signal, rtol=0, atol=1e-6 * np.abs(asked.signal).max())
    assert delay == pytest.approx(1e6 * asked.delay)
    assert freq == pytest.approx(asked.freq_offset)
    check_phase(offset, asked.phase_offset)


def check_acquisition(loaded, event, asked):
    number, count, dwell, delay, freq, offset = loaded.adc[int(event) - 1]
    assert (number, count, freq) == (event, asked.num_samples, asked.freq_offset)
    assert (dwell, delay) == (pytest.approx(1e9 * asked.dwell), pytest.approx(1e6 * asked.delay))
    check_phase(offset, asked.phase_offset)


def check_phase(read, asked):
    assert 0 <= read < 2 * np.pi
    assert abs(np.exp(1j * read) - np.exp(1j * asked)) < 1e-7


def test_run_length_coded_shapes_and_columns_of_1_5_would_be_lost(tmp_path):
    """Without these two faults of the interpreter, this export could write what Siemens gets."""
    block = pp.make_block_pulse(0.1, duration=1e-3, delay=100e-6, system=cases.SYSTEM, use="excitation")
    asked = cases.sequence([block], [cases.pulse()])
    terra = Scanner.preset("siemens-terra")
    loaded = {}
    for version in ("1.4.1", "1.5"):
        path = tmp_path / f"{version}.seq"
        write_siemens(asked, path, scanner=terra, version=version, definitions=cases.STATED, unsafe=True)
        loaded[version] = cases.interpreted(path)
    assert sorted(loaded["1.4.1"].shapes) == [1, 4]
    assert loaded["1.5"].rf[0][5] == pytest.approx(500), "the centre is taken for the delay"
    write(asked, tmp_path / "ours")
    assert sorted(cases.interpreted(tmp_path / "ours").shapes) == [1, 2, 3, 4]


def test_text_is_plain_signed_and_ends_lines_with_lf(tmp_path):
    write(cases.gradient_echo(), tmp_path / "gre.seq")
    raw = (tmp_path / "gre_seq").read_bytes()
    assert b"\r" not in raw
    for section in (b"[EXTENSIONS]", b"[GRADIENTS]", b"LABELSET"):
        assert section not in raw
    body, tail = raw.split(b"\n[SIGNATURE]\n")
    assert tail.split()[-1].decode() == hashlib.md5(body).hexdigest()
    seq = read_seq(tmp_path / "gre_seq")
    assert (seq.version, seq.signature_valid) == ((1, 4, 1), True)


def test_block_pulses_are_sampled_and_ppm_become_hertz(tmp_path):
    block = pp.make_block_pulse(0.1, duration=1e-3, delay=100e-6, freq_ppm=-3.45, system=cases.SYSTEM, use="saturation")
    write(cases.sequence([block]), tmp_path / "a_seq")
    seq = read_seq(tmp_path / "a_seq")
    assert seq.shapes[seq.rf.magnitude[0]].num_samples == 1000
    assert seq.rf.time_shape[0] == -1
    assert seq.rf.freq[0] == pytest.approx(-3.45e-6 * cases.BIOSPEC.gamma * 9.4)


def test_gradients_in_percent_and_b1_in_reference_pulses(tmp_path):
    quarter = 0.25 * cases.BIOSPEC.max_gradient * cases.BIOSPEC.gamma
    block = pp.make_block_pulse(np.pi / 2, duration=1e-3, delay=100e-6, system=cases.SYSTEM, use="excitation")
    report = write(cases.sequence([block], [cases.trapezoid(quarter)]), tmp_path / "a_seq")
    assert report.peaks["gradient x [% of maximum]"] == pytest.approx(25)
    assert report.peaks["B1 [reference pulses]"] == pytest.approx(1)
    assert report.peaks["B1 [uT]"] == pytest.approx(5.87, abs=0.005)


def shaped():
    wave = 1e5 * np.sin(np.pi * (np.arange(100) + 0.5) / 100) ** 2
    return pp.make_arbitrary_grad("x", wave, first=0, last=0, system=cases.SYSTEM)


def two_phase_shapes():
    first = cases.pulse()
    other = pp.make_arbitrary_rf(
        np.abs(first.signal) * np.exp(0.3j), 0.2, delay=100e-6, system=cases.SYSTEM, use="other"
    )
    plain = pp.make_arbitrary_rf(np.abs(first.signal), 0.2, delay=100e-6, system=cases.SYSTEM, use="other")
    return [[plain], [other]]


def trapezoids_of(count):
    return [[cases.trapezoid(1e5, rise_time=(4 + number) * 1e-5)] for number in range(count)]


REFUSED = {
    "bruker-shaped": [[shaped()]],
    "bruker-extension: triggers": [[pp.make_trigger("physio1", duration=1e-3)]],
    "bruker-extension: soft delays": [[pp.make_soft_delay("TE", default_duration=4e-3)]],
    "bruker-adc-shape": [[cases.acquisition()], [cases.acquisition(num_samples=64)]],
    "bruker-dwell: .* 8 or 10 us": [[cases.acquisition(dwell=9.8e-6)]],
    "bruker-adc-gap.* 200 us": [[cases.acquisition(num_samples=197)], [cases.acquisition(num_samples=197)]],
    "bruker-adc-phase": [[cases.acquisition(phase_modulation=np.linspace(0, 1, cases.SAMPLES))]],
    "bruker-block": [[cases.pulse(), cases.acquisition(delay=2e-3)]],
    "bruker-rf-shape": two_phase_shapes(),
    "bruker-gradient-shapes.*33 timings": trapezoids_of(33),
}


@pytest.mark.parametrize(("reason", "blocks"), REFUSED.items(), ids=[name.split(":")[0] for name in REFUSED])
def test_what_the_interpreter_cannot_play_is_refused(tmp_path, reason, blocks):
    with pytest.raises(ProtocolError, match=reason):
        write(cases.sequence(*blocks), tmp_path / "a.seq")
    assert list(tmp_path.iterdir()) == []


def test_all_reasons_are_told_at_once(tmp_path):
    early = cases.acquisition(dwell=9.8e-6)
    early.delay = early.dead_time = 0.0
    blocks = [[shaped()], [pp.make_trigger("physio1", duration=1e-3)], [early]]
    with pytest.raises(ProtocolError) as error:
        write(cases.sequence(*blocks), tmp_path / "a.seq")
    for reason in ("bruker-shaped", "bruker-extension", "bruker-dwell", "adc-dead-time"):
        assert reason in str(error.value)


def many_pulses(count):
    return [[cases.pulse(phase_offset=0.01 * number)] for number in range(count)]


def many_trapezoids(count):
    return [[cases.trapezoid(1e3 * (number + 1))] for number in range(count)]


def many_acquisitions(count):
    return [[cases.acquisition(phase_offset=0.01 * number)] for number in range(count)]


@pytest.mark.parametrize("blocks", [many_pulses, many_trapezoids, many_acquisitions])
def test_tables_are_full_at_256(tmp_path, blocks):
    write(cases.sequence(*blocks(256)), tmp_path / "a.seq")
    with pytest.raises(ProtocolError, match=r"bruker-events.*257.*limit 256.*in block 257"):
        write(cases.sequence(*blocks(257)), tmp_path / "b.seq")


def test_blocks_end_at_2048(tmp_path):
    write(cases.sequence(*[[]] * 2048), tmp_path / "a.seq")
    assert len(cases.interpreted(tmp_path / "a_seq").blocks) == 2048
    with pytest.raises(ProtocolError, match=r"bruker-blocks.*2049 blocks.*limit 2048.*in block 2049"):
        write(cases.sequence(*[[]] * 2049), tmp_path / "b.seq")


def test_saturation_of_seconds_is_too_long_to_be_written_in_full(tmp_path):
    long = pp.make_block_pulse(1.0, duration=3.0, delay=100e-6, system=cases.SYSTEM, use="preparation")
    with pytest.raises(ProtocolError, match=r"bruker-samples.*6e\+06 samples"):
        write(cases.sequence([long], length=3.1), tmp_path / "a.seq")


@pytest.mark.parametrize(
    ("given", "name"),
    [("gre.seq", "gre_seq"), ("gre_seq", "gre_seq"), ("my gre-2.seq", "my_gre_2_seq"), ("T1.", "T1")],
)
def test_names_have_no_symbols(tmp_path, given, name):
    write(cases.sequence([cases.pulse()]), tmp_path / given)
    assert sorted(file.name for file in tmp_path.iterdir()) == [name, f"{name}_index.json"]
    assert (bruker_path(tmp_path / given).name, index_path(given).name) == (name, f"{name}_index.json")


def test_names_of_symbols_alone_and_long_definitions_are_refused(tmp_path):
    with pytest.raises(ProtocolError, match="letters, digits and underscores"):
        bruker_path(tmp_path / "-.-")
    with pytest.raises(ProtocolError, match="bruker-name"):
        write(cases.sequence([cases.pulse()]), tmp_path / "a", definitions={"Name": "n" * 64})


def test_the_index_sorts_the_readouts(tmp_path):
    asked = cases.gradient_echo()
    write(asked, tmp_path / "gre.seq")
    index = read_index(tmp_path / "gre_seq_index.json", tmp_path / "gre_seq")
    assert index["readouts"] == 8
    np.testing.assert_array_equal(index["labels"]["LIN"], np.arange(8))
    assert index["sha256"] == hashlib.sha256((tmp_path / "gre_seq").read_bytes()).hexdigest()
    k, _, _, _, time = asked.calculate_kspace()
    k = k.T.reshape(8, -1, 3)
    scale = np.abs(k).max()
    np.testing.assert_allclose(index["k of first sample [1/m]"], k[:, 0], atol=1e-6 * scale)
    np.testing.assert_allclose(index["k of last sample [1/m]"], k[:, -1], atol=1e-6 * scale)
    np.testing.assert_allclose(index["first sample at [s]"], np.reshape(time, (8, -1))[:, 0], atol=1e-9)
    rows = {int(row[0]): row for row in cases.interpreted(tmp_path / "gre_seq").blocks}
    assert all(rows[block][6] > 0 for block in index["block"].tolist())


def test_the_index_belongs_to_its_sequence(tmp_path):
    write(cases.gradient_echo(), tmp_path / "a.seq")
    write(cases.gradient_echo(4), tmp_path / "b.seq")
    with pytest.raises(MismatchError, match="another"):
        read_index(index_path(tmp_path / "a.seq"), tmp_path / "b_seq")
    table = json.loads(index_path(tmp_path / "a.seq").read_text())
    table["block"].pop()
    (tmp_path / "cut.json").write_text(json.dumps(table))
    for name in ("cut.json", "none.json", "a_seq"):
        with pytest.raises(FileError, match="no index table"):
            read_index(tmp_path / name, tmp_path / "a_seq")


def test_a_file_of_1_5_with_labels_is_written_as_its_sequence(tmp_path):
    asked = cases.gradient_echo()
    source = tmp_path / "source.seq"
    terra = Scanner.preset("siemens-terra")
    write_siemens(asked, source, scanner=terra, version="1.5", definitions=cases.STATED, unsafe=True)
    write(asked, tmp_path / "direct")
    write(read_seq(source), tmp_path / "read")
    direct, read = (cases.interpreted(tmp_path / name) for name in ("direct", "read"))
    assert direct.blocks == read.blocks
    np.testing.assert_allclose(direct.rf, read.rf, rtol=1e-8)
    np.testing.assert_allclose(direct.trap, read.trap, rtol=1e-8)


def test_existing_files_other_vendors_and_the_sequence_itself(tmp_path):
    asked = cases.gradient_echo()
    before = {name: row.tolist() for name, row in asked.block_events.items()}
    write(asked, tmp_path / "a.seq")
    assert before == {name: row.tolist() for name, row in asked.block_events.items()}
    with pytest.raises(OutputExistsError):
        write(asked, tmp_path / "a.seq")
    (tmp_path / "a_seq").unlink()
    with pytest.raises(OutputExistsError, match="index"):
        write(asked, tmp_path / "a.seq")
    write(asked, tmp_path / "a.seq", force=True)
    with pytest.raises(ProtocolError, match="siemens"):
        write_bruker(asked, tmp_path / "b", scanner=Scanner.preset("siemens-prisma"))
    with pytest.raises(ProtocolError, match="no block"):
        write(pp.Sequence(cases.SYSTEM), tmp_path / "b")
    with pytest.raises(ProtocolError, match="FOV"):
        write_bruker(asked, tmp_path / "b", scanner=cases.BIOSPEC, definitions={"Name": "b"})
