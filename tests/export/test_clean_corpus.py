"""The check on sequences that others made: none is refused on the scanner that it was made for, and nothing is made up.

Each file stands with the warnings that it deserves; their reasons and the origin of the files are in
`tests/data/seq_corpus/README.md`.
"""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.export.findings import ERROR
from pulsetwin.export.label_map import label_findings
from pulsetwin.export.playable import check
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import EXT, SeqFile, read_seq

ROOT = Path(__file__).resolve().parents[2]
CORPUS, EXAMPLES = ROOT / "tests" / "data" / "seq_corpus", ROOT / "examples" / "data"
PRISMA = Scanner.preset("siemens-prisma")
SIMULATED = dataclasses.replace(
    PRISMA, rf_dead_time=0.0, rf_ringdown_time=0.0, adc_dead_time=0.0, adc_samples_divisor=1
)  # files for a simulator, whose authors set no dead times and acquire single samples
BARE = {"label-none"}
UNSIGNED = {"signature"}
UNSET = {"label-start"}
SPARSE = {"rf-samples"}
NERVES = {"pns"}
OBLIQUE = {"slew-vector"}
DANGLING = {"file", "extension"}
PLAYED = {
    "pulseq_epi/basic_epi_pe_none": BARE,
    "pulseq_epi/basic_epi_pe_plus": BARE,
    "pulseq_epi/ramp_epi_pe_none": BARE | NERVES,
    "pulseq_epi/ramp_epi_pe_plus": BARE | NERVES | OBLIQUE,
    "pulseq_se/image": BARE,
    "pulseq_se/slice_profile_sinc": BARE,
}
MADE = {
    "mrseq_epi2d_fid": UNSET,
    "mrseq_epi2d_se": UNSET,
    "mrseq_radial_flash": NERVES,
    "mrseq_spiral_flash": NERVES,
    "mrseq_t1_molli_bssfp": UNSET | NERVES | DANGLING,
    "mrseq_t1rho_se_single_line": SPARSE | NERVES,
    "mrseq_t2_multi_echo_se_single_line": set(),
    "mrseq_t2_t2prep_flash": UNSET | SPARSE | NERVES | DANGLING,
    "mrseq_t2star_multi_echo_flash": UNSET | NERVES | DANGLING,
    "pypulseq131_gre_label": UNSET | UNSIGNED | NERVES | OBLIQUE,
    "pypulseq_epi": BARE,
    "pypulseq_epi_label": UNSET,
    "pypulseq_epi_se": BARE | SPARSE,
    "pypulseq_epi_se_rs": BARE,
    "pypulseq_gre": BARE | NERVES | OBLIQUE,
    "pypulseq_gre_label": UNSET | NERVES | OBLIQUE,
    "pypulseq_gre_radial": BARE,
    "pypulseq_haste": BARE,
    "pypulseq_tse": BARE,
    "pypulseq_ute": BARE,
}
SIMULATIONS = {
    "bmctool_wasabi": BARE | SPARSE | UNSIGNED,
    "molecular_mrf_larginine": BARE | UNSIGNED,
}
CASES = [
    *((EXAMPLES / f"{name}.seq", PRISMA, odd) for name, odd in PLAYED.items()),
    *((CORPUS / f"{name}.seq.gz", PRISMA, odd) for name, odd in MADE.items()),
    *((CORPUS / f"{name}.seq.gz", SIMULATED, odd) for name, odd in SIMULATIONS.items()),
]
LABELLED = [path for path, _, odd in CASES if not odd & BARE]


def unpacked(path: Path, folder: Path) -> Path:
    """Return a file of the corpus as a `.seq`."""
    if path.suffix != ".gz":
        return path
    plain = folder / path.stem
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain


def name_of(value: object) -> str:
    return value.name.split(".")[0] if isinstance(value, Path) else ""


@pytest.mark.parametrize(("path", "scanner", "odd"), CASES, ids=name_of)
def test_no_false_alarm(tmp_path, path, scanner, odd):
    found = check(unpacked(path, tmp_path), scanner)
    assert found.errors == (), found.text()
    assert {one.rule for one in found.warnings} == odd, found.text()


def test_the_corpus_is_whole():
    assert len(CASES) >= 20
    assert {path for path, _, _ in CASES if path.suffix == ".gz"} == set(CORPUS.glob("*.seq.gz"))


def one_step_more(seq: SeqFile, row: int) -> SeqFile:
    """Return the sequence with LIN a step higher in the block of a row, and back in the next."""
    more = seq
    for place, step in ((row, 1), (row + 1, -1)):
        old, ext = more.events[place, EXT], more.extensions
        mine = ext.labels[old] if old != NONE else ()
        change = (False, "LIN", step)
        labels = (*mine, change) if step > 0 else (change, *mine)
        rest = {name: (*getattr(ext, name), ()) for name in ("triggers", "soft_delays", "shims", "unknown")}
        events = more.events.copy()
        events[place, EXT] = len(ext)
        rotation = np.append(ext.rotation, NONE)
        ext = dataclasses.replace(ext, labels=(*ext.labels, labels), rotation=rotation, **rest)
        more = dataclasses.replace(more, events=events, extensions=ext)
    return more


@pytest.mark.parametrize("path", LABELLED, ids=name_of)
def test_one_wrong_line_in_a_labelled_file_is_found(tmp_path, path):
    seq = read_seq(unpacked(path, tmp_path))
    played = played_readouts(seq)
    rows = played.block[played.flags["imaging"]]
    row = int(rows[len(rows) // 3])
    wrong = [one for one in label_findings(one_step_more(seq, row)) if one.severity == ERROR]
    if any(word in path.name for word in ("radial", "spiral")):
        assert {one.rule for one in wrong} == {"label-cell"}
    else:
        (found,) = (one for one in wrong if one.rule == "label-LIN")
        assert (found.block, found.count, abs(found.value)) == (seq.number[row], 1, pytest.approx(1, abs=1e-3))
