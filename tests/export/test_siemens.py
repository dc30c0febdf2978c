"""The Siemens write gate: what is asked for is what pypulseq reads back, and what cannot be is refused."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import MismatchError, OutputExistsError, ProtocolError
from pulsetwin.export import siemens
from pulsetwin.export.seq_rules import text_faults
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import ADC, RF, read_seq
from tests.export import siemens_cases as cases
from tests.export.same_played import (
    same_angle,
    same_played,
)
from tests.sequences import made

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import twin_sequences as twin

VERSIONS = ("1.4.1", "1.5")
BUILDERS = {
    "flash": lambda: twin.flash(16),
    "rare": lambda: twin.rare(16),
    "twin epi": lambda: twin.epi(16),
    "radial": lambda: twin.radial(16, 6),
    "spin echo": cases.labelled_echo,
    "spiral": made.spiral,
    "gre": cases.gre_label,
    "epi": cases.epi,
}


def write(seq: pp.Sequence, path: Path, version: str = "1.4.1", **options):
    stated = cases.STATED | options.pop("definitions", {})
    return write_siemens(seq, path, scanner=cases.PRISMA, version=version, definitions=stated, **options)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_pypulseq_reads_back_what_was_asked_for(tmp_path, build, version):
    asked = build()
    report = write(asked, tmp_path / "a.seq", version)
    assert report.playable
    assert text_faults(tmp_path / "a.seq") == ()
    same_played(asked, cases.read_by_pypulseq(tmp_path / "a.seq"), cases.PRISMA)


def test_nine_digits_where_pypulseq_keeps_six(tmp_path):
    read = pp.make_trapezoid("x", amplitude=123456.5, flat_time=1e-3, rise_time=200e-6, system=cases.SYSTEM)
    seq = cases.sequence([read])
    made.write(seq, tmp_path / "theirs.seq", "1.4.1")
    write(seq, tmp_path / "ours.seq")
    theirs, ours = (read_seq(tmp_path / f"{name}.seq").gradients.amplitude[1] for name in ("theirs", "ours"))
    assert abs(theirs / read.amplitude - 1) > 1e-6
    assert abs(ours / read.amplitude - 1) < 1e-9


@pytest.mark.parametrize("version", VERSIONS)
def test_phases_of_a_thousand_spoiled_repetitions(tmp_path, version):
    seq = pp.Sequence(cases.SYSTEM)
    wanted = np.deg2rad(117.3) * np.arange(1000) ** 2 / 2
    shape, adc = cases.pulse(), cases.acquisition()
    for phase in wanted:
        shape.phase_offset = adc.phase_offset = phase
        seq.add_block(shape)
        seq.add_block(adc)
    write(seq, tmp_path / "ours.seq", version)
    read = read_seq(tmp_path / "ours.seq")
    for table, column in ((read.rf, RF), (read.adc, ADC)):
        rows = read.events[:, column]
        same_angle(table.phase[rows[rows != NONE]], wanted, 1e-6)
        assert np.all((table.phase >= 0) & (table.phase < 2 * np.pi))


def test_pypulseq_loses_the_phases_of_long_trains(tmp_path):
    wanted = np.deg2rad(117.3) * 999**2 / 2
    seq = cases.sequence([cases.pulse(phase_offset=wanted)])
    (theirs,) = read_seq(made.write(seq, tmp_path / "theirs.seq", "1.4.1")).rf.phase
    assert abs(np.angle(np.exp(1j * (theirs - wanted)))) > 0.01, "pypulseq wraps phases now: this gate need not"


@pytest.mark.parametrize("phase", [-1e-12, 2 * np.pi, -2 * np.pi, 2 * np.pi - 1e-10, 1e7, -0.0])
def test_no_phase_reaches_the_whole_turn(tmp_path, phase):
    write(cases.sequence([cases.pulse(phase_offset=phase)]), tmp_path / "a.seq")
    (read,) = read_seq(tmp_path / "a.seq").rf.phase
    assert 0 <= read < 2 * np.pi
    same_angle(read, phase, 1e-7)


@pytest.mark.parametrize("version", VERSIONS)
def test_delays_of_a_second_and_more_are_whole_numbers(tmp_path, version):
    seq = pp.Sequence(cases.SYSTEM)
    for delay in (1.0, 1.234567, 12.5):
        seq.add_block(cases.pulse(delay=delay), pp.make_delay(13.0))
    write(seq, tmp_path / "a.seq", version)
    read = read_seq(tmp_path / "a.seq")
    np.testing.assert_allclose(read.rf.delay[read.events[:, RF]], [1.0, 1.234567, 12.5], rtol=0, atol=1e-12)
    assert "e+" not in (tmp_path / "a.seq").read_text().split("[RF]")[1].split("[SHAPES]")[0]


def test_block_pulses_are_sampled_on_the_raster(tmp_path):
    pulse = pp.make_block_pulse(0.5, duration=0.7e-3, delay=100e-6, phase_offset=1.0, system=cases.SYSTEM, use="other")
    assert len(pulse.t) == 2
    write(cases.sequence([pulse]), tmp_path / "a.seq")
    read = read_seq(tmp_path / "a.seq")
    assert read.rf.time_shape[0] == NONE
    assert read.shapes[read.rf.magnitude[0]].num_samples == 700
    assert read.rf.flip[0] == pytest.approx(0.5, rel=1e-8)
    assert len((tmp_path / "a.seq").read_text()) < 1500, "a constant pulse stays run-length coded"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([cases.acquisition(dwell=3.33333e-6)], "dwell time of 3333.33 ns"),
        ([cases.acquisition(delay=20.5e-6)], "delay of 20.5 us"),
        ([cases.pulse(delay=100.4e-6)], "delay of 100.4 us"),
        ([cases.pulse(freq_offset=np.nan)], "frequency is nan"),
        ([pp.make_adc(100_000, dwell=1e-6, delay=20e-6, system=pp.Opts())], "100000 samples"),
        ([SimpleNamespace(type="labelset", label="LIN", value=1.7)], "not a whole number"),
        ([pp.make_label("LIN", "SET", 70000)], "LIN 70000"),
        ([pp.make_label("LIN", "SET", -1)], "LIN -1"),
        ([pp.make_label("ONCE", "SET", 3)], "ONCE 3"),
        ([pp.make_label("NAV", "SET", 5)], "NAV 5"),
        ([SimpleNamespace(type="labelinc", label="NAV", value=1)], "flag NAV"),
        ([SimpleNamespace(type="labelinc", label="ONCE", value=1)], "flag ONCE"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_values_the_format_cannot_hold_are_refused(tmp_path, events, reason, version):
    seq = cases.sequence([cases.pulse()], events)
    with pytest.raises(ProtocolError, match=reason) as error:
        write(seq, tmp_path / "a.seq", version, unsafe=True)
    assert "block 2" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_uneven_times_of_a_pulse_are_refused(tmp_path):
    seq = cases.sequence([cases.pulse()])
    row = seq.rf_library.data[1]
    time = np.array([1000, *np.linspace(0, 30, 999) ** 2, 1000.0])  # not packed: as many as samples
    shape, _ = seq.shape_library.find_or_insert(time)
    seq.rf_library.data[1] = (*row[:3], shape, *row[4:])
    with pytest.raises(ProtocolError, match="uneven times"):
        write(seq, tmp_path / "a.seq")


@pytest.mark.parametrize("name", ["LIN", "PAR", "REV"])
def test_labels_must_be_set_before_the_first_acquisition(tmp_path, name):
    late = [pp.make_label(name, "SET", 1)]
    with pytest.raises(ProtocolError, match=f"label {name} is not set"):
        write(cases.sequence([cases.acquisition()], [cases.acquisition(), *late]), tmp_path / "a.seq")
    start = [pp.make_label(name, "SET", 0)]
    write(cases.sequence([cases.acquisition(), *start], [cases.acquisition(), *late]), tmp_path / "a.seq")


def test_counters_that_run_out_of_range_are_refused(tmp_path):
    step = [cases.acquisition(), pp.make_label("REP", "INC", 40000)]
    seq = cases.sequence([pp.make_label("REP", "SET", 0)], step, step)
    with pytest.raises(ProtocolError, match="REP is out of range: 80000"):
        write(seq, tmp_path / "a.seq")


def test_phase_modulated_acquisitions_need_1_5(tmp_path):
    wave = np.linspace(0, 3, 64)
    seq = cases.sequence([cases.acquisition(phase_modulation=wave)])
    with pytest.raises(ProtocolError, match=r"block 1.*modulated.*1\.5"):
        write(seq, tmp_path / "a.seq")
    write(seq, tmp_path / "a.seq", "1.5")
    read = read_seq(tmp_path / "a.seq")
    np.testing.assert_allclose(read.shapes[read.adc.phase_shape[0]].samples(), wave, atol=1e-6)


def test_soft_delays_need_1_5_and_keep_their_factor(tmp_path):
    seq = pp.Sequence(cases.SYSTEM)
    seq.add_block(pp.make_soft_delay("TE", offset=-2e-3, factor=0.5, default_duration=5e-3))
    with pytest.raises(ProtocolError, match=r"soft delays; write 1\.5"):
        write(seq, tmp_path / "a.seq")
    write(seq, tmp_path / "a.seq", "1.5")
    ((delay,),) = read_seq(tmp_path / "a.seq").extensions.soft_delays
    assert delay == (0, pytest.approx(-2e-3), 0.5, "TE")


def oversampled() -> pp.Sequence:
    time = np.arange(1, 200) * 5e-6
    wave = 1e5 * np.sin(np.pi * time / 1e-3) ** 2
    gradient = pp.make_arbitrary_grad("x", wave, first=0, last=0, oversampling=True, system=cases.SYSTEM)
    return cases.sequence([gradient])


def test_oversampled_gradients_need_1_5(tmp_path):
    with pytest.raises(ProtocolError, match=r"oversampled.*1\.5"):
        write(oversampled(), tmp_path / "a.seq")
    write(oversampled(), tmp_path / "a.seq", "1.5")
    read = read_seq(tmp_path / "a.seq")
    assert read.gradients.kind[0] == "o"
    time, value = read.gradients.points(0)
    np.testing.assert_allclose(value, 1e5 * np.sin(np.pi * time / 1e-3) ** 2, atol=0.1)
    assert read.gradients.area[0] == pytest.approx(50.0, rel=1e-6)


@pytest.mark.parametrize("name", ["ROTATIONS", "RF_SHIMS", "NEW"])
@pytest.mark.parametrize("version", VERSIONS)
def test_extensions_that_neither_version_has_are_refused(tmp_path, name, version):
    seq = cases.sequence([cases.pulse()])
    seq.set_extension_string_ID(name, 9)
    seq.block_events[1][6] = seq.extensions_library.insert(0, (9, 1, 0))
    with pytest.raises(ProtocolError, match=f"block 1, extension {name}"):
        write(seq, tmp_path / "a.seq", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_offsets_in_ppm_are_taken_at_the_scanners_field(tmp_path, version):
    """pypulseq takes them at 1.5 T unless told, so that fat saturation misses fat."""
    seq = pp.Sequence(pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6))
    assert seq.system.B0 == 1.5
    seq.add_block(cases.pulse(freq_ppm=-3.45, phase_ppm=0.01, freq_offset=10.0))
    write(seq, tmp_path / "a.seq", version)
    read = read_seq(tmp_path / "a.seq")
    larmor = 42.576e6 * 2.893620 * 1e-6
    assert read.definitions["B0"] == 2.89362
    assert read.rf.freq[0] + larmor * read.rf.freq_ppm[0] == pytest.approx(10 - 3.45 * larmor, rel=1e-5)
    same_angle(read.rf.phase[0] + larmor * read.rf.phase_ppm[0], 0.01 * larmor, 1e-4)
    assert (read.rf.freq_ppm[0] == 0) == (version == "1.4.1")
    with pytest.raises(ProtocolError, match="B0 is 3"):
        write(seq, tmp_path / "b.seq", version, definitions={"B0": 3.0})


@pytest.mark.parametrize("version", VERSIONS)
def test_files_of_1_4_are_written_as_either_version(tmp_path, version):
    """pypulseq raises KeyError on 128 of 132 files that it read from 1.4 and is to write as 1.5."""
    path = made.write(cases.labelled_echo(), tmp_path / "old.seq", "1.4.1")
    write(cases.read_by_pypulseq(path), tmp_path / "new.seq", version)
    old, new = read_seq(path), read_seq(tmp_path / "new.seq")
    uses = [seq.rf.use[seq.events[:, RF]][seq.events[:, RF] != NONE].tolist() for seq in (old, new)]
    assert uses[0] == uses[1]
    assert set(uses[0]) == {"e", "r"}
    np.testing.assert_allclose(new.gradients.moment[-1], old.gradients.moment[-1], rtol=1e-6)


@pytest.mark.slow
def test_the_real_protocol_of_a_cest_scan_survives(tmp_path):
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "cest_larg_9p4t" / "acq_protocol.seq"
    if not path.exists():
        pytest.skip("the shared data are not here")
    seq = cases.read_by_pypulseq(path, pp.Opts())  # whose dead times of 0 do not lengthen the blocks
    write(seq, tmp_path / "a.seq", "1.5", unsafe=True)
    old, new = read_seq(path), read_seq(tmp_path / "a.seq")
    np.testing.assert_allclose(new.block_duration, old.block_duration, atol=1e-9)
    pulses = old.events[:, RF] != NONE
    for name in ("flip", "freq", "duration", "amplitude"):
        before, after = (getattr(s.rf, name)[s.events[pulses, RF]] for s in (old, new))
        np.testing.assert_allclose(after, before, rtol=1e-6, err_msg=name)


def test_definitions_of_numpy_are_written_and_others_refused(tmp_path):
    numbers = {"Count": np.int64(5), "Depth": np.float32(0.5), "Shape": np.array([1, 2, 3]), "On": np.bool_(True)}
    write(cases.sequence([cases.pulse()]), tmp_path / "a.seq", definitions=numbers | {"Note": "two words"})
    found = read_seq(tmp_path / "a.seq").definitions
    assert [found[name] for name in ("Count", "Depth", "Shape", "On")] == [5, 0.5, (1, 2, 3), 1]
    assert found["Note"] == "two words"
    for bad in ({"None": None}, {"Number": 1j}, {"two words": 1}, {"Lines": "a\nb"}, {"Empty": []}, {"D": {}}):
        with pytest.raises(ProtocolError, match="definition"):
            write(cases.sequence([cases.pulse()]), tmp_path / "b.seq", definitions=bad)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"FOV": [220, 220, 5]}, "FOV"),
        ({"FOV": [0.2, 0.2]}, "FOV"),
        ({"FOV": "0.2 0.2 0.2"}, "FOV"),
        ({"Name": ""}, "Name"),
        ({"TE": 25.0}, "TE"),
        ({"TR": [5e-3, -1]}, "TR"),
        ({"AccelerationFactorPE": 0}, "AccelerationFactorPE"),
    ],
)
def test_definitions_of_the_reconstruction_are_checked(tmp_path, wrong, reason):
    with pytest.raises(ProtocolError, match=reason):
        write(cases.sequence([cases.pulse()]), tmp_path / "a.seq", definitions=wrong)
    with pytest.raises(ProtocolError, match="Name"):
        write_siemens(cases.sequence([cases.pulse()]), tmp_path / "a.seq", scanner=cases.PRISMA)


def test_empty_sequences_rasters_names_and_vendors_are_refused(tmp_path):
    with pytest.raises(ProtocolError, match="no block"):
        write(pp.Sequence(cases.SYSTEM), tmp_path / "a.seq")
    with pytest.raises(ProtocolError, match="GradientRasterTime is 20 us"):
        write(twenty_us(), tmp_path / "a.seq", unsafe=True)
    with pytest.raises(ProtocolError, match=r"end in \.seq"):
        write(cases.sequence([cases.pulse()]), tmp_path / "a.txt")
    with pytest.raises(ProtocolError, match=r"version '1\.3'"):
        write(cases.sequence([cases.pulse()]), tmp_path / "a.seq", "1.3")
    with pytest.raises(ProtocolError, match="bruker"):
        write_siemens(cases.sequence([cases.pulse()]), tmp_path / "a.seq", scanner=Scanner.preset("bruker-biospec-94"))


def twenty_us() -> pp.Sequence:
    seq = pp.Sequence(pp.Opts(grad_raster_time=20e-6))
    seq.add_block(pp.make_delay(1e-3))
    return seq


@pytest.mark.parametrize("version", VERSIONS)
def test_line_ends_are_lf_and_the_signature_is_that_of_the_text(tmp_path, version):
    write(cases.gre_label(4), tmp_path / "a.seq", version)
    raw = (tmp_path / "a.seq").read_bytes()
    assert b"\r" not in raw
    body, tail = raw.split(b"\n[SIGNATURE]\n")
    assert tail.split()[-1].decode() == hashlib.md5(body).hexdigest()


def test_equal_events_are_written_once_and_unused_ones_left_out(tmp_path):
    seq = cases.sequence([cases.pulse(phase_offset=1.0)], [cases.pulse(phase_offset=1.0 + 4 * np.pi)])
    seq.set_block(1, cases.pulse(phase_offset=1.0 - 2 * np.pi), pp.make_delay(10e-3))
    assert len(seq.rf_library.data) == 3
    write(seq, tmp_path / "a.seq")
    assert len(read_seq(tmp_path / "a.seq").rf) == 1


def too_strong() -> pp.Sequence:
    opts = pp.Opts(max_grad=500, grad_unit="mT/m", max_slew=5000, slew_unit="T/m/s")
    seq = pp.Sequence(opts)
    seq.add_block(pp.make_trapezoid("x", amplitude=5e6, rise_time=100e-6, flat_time=1e-3, system=opts))
    return seq


def test_what_the_scanner_cannot_play_is_refused_or_says_so(tmp_path):
    with pytest.raises(ProtocolError, match="gradient-x"):
        write(too_strong(), tmp_path / "a.seq")
    assert list(tmp_path.iterdir()) == []
    report = write(too_strong(), tmp_path / "a.seq", unsafe=True)
    assert not report.playable
    read = read_seq(tmp_path / "a.seq")
    assert set(read.definitions[siemens.UNSAFE].split(",")) == {"gradient-x", "slew-x"}
    assert read.signature_valid
    write(cases.sequence([cases.pulse()]), tmp_path / "b.seq", definitions={siemens.UNSAFE: "old"}, unsafe=True)
    assert siemens.UNSAFE not in read_seq(tmp_path / "b.seq").definitions


def test_existing_files_stay_unless_forced_and_when_writing_fails(tmp_path):
    path = tmp_path / "a.seq"
    path.write_text("precious")
    with pytest.raises(OutputExistsError):
        write(cases.sequence([cases.pulse()]), path)
    with pytest.raises(ProtocolError):
        write(too_strong(), path, force=True)
    assert path.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1
    write(cases.sequence([cases.pulse()]), path, force=True)
    assert read_seq(path).signature_valid


def test_the_sequence_itself_is_not_changed(tmp_path):
    seq = cases.epi()
    before = (
        dict(seq.rf_library.data),
        dict(seq.grad_library.data),
        dict(seq.definitions),
        len(seq.shape_library.data),
    )
    write(seq, tmp_path / "a.seq")
    assert before == (seq.rf_library.data, seq.grad_library.data, seq.definitions, len(seq.shape_library.data))


def spoil(text: str, section: str, column: int, change) -> str:
    """Change a word in the first line of data of a section, and sign anew."""
    body = text.split("\n[SIGNATURE]")[0]
    head, tail = body.split(section + "\n", 1)
    line, rest = tail.split("\n", 1)
    words = line.split()
    words[column] = change(words[column])
    body = f"{head}{section}\n{' '.join(words)}\n{rest}"
    return f"{body}\n[SIGNATURE]\nType md5\nHash {hashlib.md5(body.encode()).hexdigest()}\n"


@pytest.mark.parametrize(
    ("section", "column", "change", "found"),
    [
        ("[RF]", 1, lambda word: f"{float(word) * (1 + 3e-6):.9g}", "pulse of block"),
        ("[RF]", 7, lambda word: f"{float(word) + 2e-5:.9g}", "pulse phase"),
        ("[RF]", 6, lambda word: f"{float(word) + 0.01:.9g}", "pulse frequency"),
        ("[RF]", 5, lambda word: str(int(word) + 1), "pulse delay"),
        ("[TRAP]", 1, lambda word: f"{float(word) * (1 - 3e-6):.9g}", "gradient of block"),
        ("[TRAP]", 3, lambda word: str(int(word) - 1), "corners"),
        ("[GRADIENTS]", 1, lambda word: f"{float(word) * (1 + 3e-6):.9g}", "gradient of block"),
        ("[ADC]", 2, lambda word: str(int(word) + 1), "dwell"),
        ("[ADC]", 1, lambda word: str(int(word) - 4), "number of samples"),
        ("[ADC]", 3, lambda word: str(int(word) + 1), "acquisition delay"),
        ("[BLOCKS]", 1, lambda word: str(int(word) + 1), "duration of block"),
        ("[BLOCKS]", 2, lambda word: "0", "whether it plays"),
        ("extension LABELSET 1", 1, lambda word: "3", "labels"),
    ],
)
def test_a_file_that_differs_never_appears(tmp_path, monkeypatch, section, column, change, found):
    right = siemens.seq_text
    monkeypatch.setattr(siemens, "seq_text", lambda *a, **k: spoil(right(*a, **k), section, column, change))
    with pytest.raises(MismatchError, match=found):
        write(cases.epi(), tmp_path / "a.seq")
    assert list(tmp_path.iterdir()) == []
