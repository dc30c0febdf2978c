"""Each sequence of the library on each scanner: pypulseq's timing, our check, the file and back, and odd settings."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import PulsetwinError
from pulsetwin.export.playable import check
from pulsetwin.export.seq_rules import text_faults
from pulsetwin.export.siemens import write_seq
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import NAMES, sequence_named
from pulsetwin.sequences.protocol import definitions, settings
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from tests.export.same_played import same_played
from tests.export.siemens_cases import read_by_pypulseq
from tests.sequences.small import SCANNERS, small

ALLOWED = ("pns", "slew-vector", "bruker-")  # warnings of a good sequence: they depend on patient, slice and export


@pytest.mark.parametrize("scanner_name", SCANNERS)
@pytest.mark.parametrize("name", NAMES)
def test_sequence_is_playable_and_its_file_plays_the_same(tmp_path, name, scanner_name):
    scanner = Scanner.preset(scanner_name)
    protocol = small(name, scanner)
    seq = sequence_named(name).build(protocol, scanner)
    passed, told = seq.check_timing()
    assert passed, told
    for version in ("1.4.1", "1.5"):
        path = tmp_path / f"{version}.seq"
        report = write_seq(seq, path, scanner=scanner, version=version, definitions=definitions(protocol, name, "0"))
        assert report.playable
        assert text_faults(path) == ()
        same_played(seq, read_by_pypulseq(path, scanner.opts), scanner)
        again = check(path, scanner)
        assert again.playable
        told = [one.rule for one in again.warnings if not one.rule.startswith(ALLOWED)]
        assert told == ([] if version == "1.4.1" else ["interpreter"] * (scanner.vendor == "siemens")), again.text()


def drawn(one, rng):
    """Return a value of a setting within its range, small where it counts something."""
    if one.kind is bool:
        return rng.random() < 0.5
    if one.kind is str:
        return rng.choice(one.choices) if one.choices else one.default
    low, high = max(one.low, 0.0), min(one.high, 1e6)

    def number():
        if one.kind is int:
            return rng.choice([1, 2, 4, 8, 16, 32]) if one.name == "matrix" else rng.randint(int(low), int(low) + 6)
        if rng.random() < 0.1:
            return float(rng.choice([low, high]))
        return math.exp(rng.uniform(math.log(low), math.log(high))) if low > 0 else rng.uniform(low, high)

    if one.count:
        return tuple(number() for _ in range(one.count if one.count > 0 else rng.randint(1, 3)))
    return number()


@pytest.mark.parametrize("name", NAMES)
def test_any_settings_build_or_say_what_is_wrong(name):
    rng = random.Random(name)
    module, built = sequence_named(name), 0
    for _ in range(12):
        scanner = Scanner.preset(rng.choice([*SCANNERS, "magritek-spinsolve-60"]))
        few = small(name, scanner)
        changed = rng.sample(list(settings(few)), 2)
        with suppress(PulsetwinError):
            module.build(replace(few, **{one.name: drawn(one, rng) for one in changed}), scanner)
            built += 1
    assert built


PULSES = [
    (name, one.name)
    for name in NAMES
    for one in settings(sequence_named(name).Protocol)
    if one.name in ("rf_duration", "excitation_duration", "refocusing_duration", "preparation_duration", "tip_duration")
]


@pytest.mark.parametrize(("name", "pulse"), PULSES)
def test_pulses_off_the_raster_are_played_on_it(tmp_path, name, pulse):
    rng, scanner = random.Random(name + pulse), Scanner.preset("siemens-prisma")
    protocol = small(name, scanner)
    chosen = replace(protocol, **{pulse: getattr(protocol, pulse) * rng.uniform(1.05, 1.3)})
    seq = sequence_named(name).build(chosen, scanner)
    report = write_seq(seq, tmp_path / "a.seq", scanner=scanner, definitions=definitions(chosen, name, "0"))
    assert report.playable


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(sequence_named(name).Protocol, "noise_samples")])
def test_noise_scans_come_first_and_are_labelled(tmp_path, name):
    scanner = Scanner.preset("siemens-prisma")
    seq = sequence_named(name).build(replace(small(name, scanner), noise_samples=1000), scanner)
    seq.write(str(tmp_path / "a.seq"))
    played = played_readouts(read_seq(tmp_path / "a.seq"))
    noise = played.flags["noise"]
    count = int(noise.sum())
    assert noise[:count].all()
    assert 1000 <= played.num_samples[:count].sum() < 1000 + played.num_samples[0]
    assert not played.flags["imaging"][:count].any()
    assert played.flags["imaging"][count:].any()


@pytest.mark.parametrize("name", ["bssfp", "epi", "flash", "multi_echo", "radial", "rare", "spiral"])
def test_neighbouring_slices_are_far_apart_in_time(tmp_path, name):
    scanner = Scanner.preset("siemens-prisma")
    protocol = replace(small(name, scanner), slices=5)
    sequence_named(name).build(protocol, scanner).write(str(tmp_path / "a.seq"))
    played = played_readouts(read_seq(tmp_path / "a.seq"))
    order = played.labels["SLC"][np.sort(np.unique(played.labels["SLC"], return_index=True)[1])]
    assert order.tolist() == [0, 2, 4, 1, 3]
