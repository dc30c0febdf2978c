"""The safety report: figures from brute-force numbers, an HTML page that needs nothing else, and the same as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin import cli
from pulsetwin.export import safety_html
from pulsetwin.export.acoustics import band_peaks, largest_spectrum
from pulsetwin.export.findings import PASSED, TOLD, CheckReport, Finding, split
from pulsetwin.export.gradient_samples import gradient_chunks
from pulsetwin.export.nerve_stimulation import EXAMPLE_AXES
from pulsetwin.export.playable import check
from pulsetwin.export.rf_power import power_course, rf_power
from pulsetwin.export.safety_facts import report_facts
from pulsetwin.export.safety_figures import gradient_envelope, gradient_figure, nerve_figure, spectrum_figure
from pulsetwin.export.safety_html import safety_page, safety_pictures
from pulsetwin.export.safety_rules import group_and_title, place
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.export.test_nerve_stimulation import asc
from tests.sequences import made

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
EPI = EXAMPLES / "pulseq_epi" / "ramp_epi_pe_plus.seq"
BANDS = ((540.0, 640.0), (1000.0, 1230.0))
PRISMA = dataclasses.replace(Scanner.preset("siemens-prisma"), pns=EXAMPLE_AXES, forbidden_bands=BANDS)
RESONANCES = "asGPAParameters[0].sGCParameters.aflAcousticResonance{}[0] = {}\n"
GRADIENT_SYSTEM = (
    RESONANCES.format("Frequency", 930) + RESONANCES.format("Bandwidth", 100) + "### ASCCONV END ###"
)  # fmt: skip


class Page(HTMLParser):
    """Collects the tags that are open at the end, the addresses that are loaded, and the cells of tables."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded, self.rows = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The command line's report of a real EPI for a gradient system that its read gradient resonates with."""
    folder = tmp_path_factory.mktemp("report")
    system, html, table = folder / "MP_GPA.asc", folder / "report.html", folder / "report.json"
    system.write_text(asc().replace("### ASCCONV END ###", GRADIENT_SYSTEM))
    words = ["check", str(EPI), "--scanner", "siemens-prisma", "--asc", str(system)]
    assert cli.main([*words, "--html", str(html), "--json", str(table)]) == 1
    return folder, html.read_text(encoding="utf-8"), json.loads(table.read_text())


def test_the_page_is_whole_and_loads_nothing(written):
    page = Page()
    page.feed(written[1])
    assert page.open == []
    assert len(page.loaded) == 5
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", written[1])


def test_page_and_json_tell_the_same(written):
    _, html, table = written
    page = Page()
    page.feed(html)
    assert "Not playable" in html
    for finding in table["findings"]:
        assert finding["message"].split("'")[0] in html.replace("&#x27;", "'")
    rows = {row[1]: row for row in page.rows if len(row) > 2}
    slew = next(one for one in table["kept"] if one["rule"] == "slew-x")
    assert rows["Gx: slew rate"][2:5] == [f"{slew['value']:.5g} T/m/s", "≤ 200", "22 %"]
    assert rows["Gx: slew rate"][5] == f"block {slew['block']}, {slew['time']:.6g} s"
    kept = [row for row in page.rows if len(row) > 1 and row[0] == "kept"]
    assert len(kept) == sum(one["severity"] == PASSED for one in table["kept"])
    digest = hashlib.sha256(EPI.read_bytes()).hexdigest()
    assert table["files"]["sequence"]["sha256"] == digest
    assert digest in html
    assert table["files"]["gradient system"]["file"] == "MP_GPA.asc"
    assert table["sequence"]["matrix"] == [96, 96, 1]
    assert "96 × 96 × 1" in html
    assert table["scanner_settings"]["forbidden_bands"] == [[880.0, 980.0]]


def test_the_gradient_system_decides(written):
    """The echo spacing of 0.54 ms is a read gradient of 926 Hz; nerves are judged by coefficients of the file."""
    broken = {one["rule"]: one for one in written[2]["findings"] if one["severity"] == "error"}
    assert set(broken) == {"pns", "acoustic-x"}
    assert "example" not in broken["pns"]["message"]
    spacing = float(re.search(r"at (\d+) Hz", broken["acoustic-x"]["message"])[1])
    assert spacing == pytest.approx(926, abs=11)


def test_options_are_refused_where_they_make_no_sense(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(safety_html, "safety_pictures", lambda *_: [])
    system = tmp_path / "a.asc"
    system.write_text(asc())
    words = ["check", str(EPI), "--scanner", "bruker-biospec-94", "--asc", str(system)]
    assert cli.main(words) == 2
    assert "TOML" in capsys.readouterr().err
    system.write_text("nothing = 1\n")
    assert cli.main(["check", str(EPI), "--scanner", "siemens-prisma", "--asc", str(system)]) == 2
    assert "neither nerve stimulation" in capsys.readouterr().err
    page = tmp_path / "report.html"
    page.write_text("mine")
    assert cli.main(["check", str(EPI), "--scanner", "siemens-prisma", "--html", str(page)]) == 2
    assert page.read_text() == "mine"
    assert cli.main(["check", str(EPI), "--scanner", "siemens-prisma", "--html", str(page), "--force"]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_texts_of_the_file_cannot_become_markup(tmp_path):
    text = EPI.read_text().replace("Name epi", "Name <script>alert(1)</script>")
    path = tmp_path / "a.seq"
    path.write_text(text)
    seq, report = read_seq(path), check(path, PRISMA)
    html = safety_page(report, PRISMA, report_facts(report, seq, PRISMA, {"sequence": path}))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert any(finding.rule == "signature" for finding in report.warnings)


def test_a_sequence_of_nothing_has_a_report(tmp_path):
    path = tmp_path / "a.seq"
    path.write_text(made.text("1.4.1", "1 100 0 0 0 0 0 0\n"))
    seq, report = read_seq(path), check(path, Scanner.preset("magritek-spinsolve-60"))
    scanner = Scanner.preset("magritek-spinsolve-60")
    html = safety_page(report, scanner, report_facts(report, seq, scanner, {"sequence": path}))
    assert report.playable
    assert "Playable, with warnings" in html


def test_without_coefficients_for_animals_nothing_of_nerves_is_drawn(tmp_path):
    path, scanner = made.write(made.spin_echo(3), tmp_path / "a.seq", "1.5.0"), Scanner.preset("bruker-biospec-94")
    seq, report = read_seq(path), check(path, scanner)
    pictures = safety_pictures(report, seq, scanner)
    assert len(pictures) > 3
    assert "Nerve stimulation" not in [picture.name for picture in pictures]
    html = safety_page(report, scanner, report_facts(report, seq, scanner, {"sequence": path}), pictures)
    assert "nerve stimulation by the SAFE model: not judged" in html


def whole(seq):
    """Return all gradient samples [Hz/m], ``[3, sample]``."""
    samples = np.zeros((3, round(seq.duration / 1e-5)))
    for first, part in gradient_chunks(seq, 1e-5):
        samples[:, first : first + part.shape[1]] = part
    return samples


@pytest.mark.parametrize("bins", [7, 500, 100_000])
def test_the_envelope_is_that_of_all_samples(tmp_path, bins):
    seq = read_seq(made.write(made.spin_echo(3), tmp_path / "a.seq", "1.5.0"))
    samples = whole(seq)
    time, low, high = gradient_envelope(seq, 1e-5, bins)
    width = round(2 * time[0] / 1e-5)
    assert len(time) == -(-samples.shape[1] // width)
    parts = [samples[:, n * width : (n + 1) * width] for n in range(len(time))]
    np.testing.assert_allclose(low[:, :-1].T, [part.min(1) for part in parts[:-1]], atol=1e-9)
    np.testing.assert_allclose(high[:, :-1].T, [part.max(1) for part in parts[:-1]], atol=1e-9)


def test_envelope_and_figures_show_the_peaks_of_the_check():
    seq, report = read_seq(EPI), check(EPI, PRISMA)
    _, low, high = gradient_envelope(seq, 1e-5)
    reach = 1e3 * np.maximum(-low, high).max(1) / PROTON
    for axis, value in zip("xyz", reach, strict=True):
        assert value == pytest.approx(report.peaks[f"gradient {axis} [mT/m]"], rel=0.06)
    rows = gradient_figure(seq, PRISMA).axes
    assert [axes.get_ylabel() for axes in rows] == ["Gx [mT/m]", "Gy [mT/m]", "Gz [mT/m]"]
    assert {line.get_ydata()[0] for line in rows[0].lines} == {-80.0, 80.0}
    nerves = nerve_figure(seq, PRISMA, report.peaks["PNS time [s]"]).axes
    for axes in nerves:
        assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(report.peaks["PNS [%]"])
    spectrum = spectrum_figure(seq, PRISMA).axes[0]
    assert max(spectrum.lines[0].get_ydata()) > 10 * report.peaks["resonance x [mT/m]"]


def test_the_spectrum_holds_the_peaks_of_the_bands():
    """Both average the gradients over an even number of raster intervals, of which there may be more in one."""
    seq = read_seq(EPI)
    frequency, amplitude = largest_spectrum(seq, 1230.0, PROTON, 1e-5)
    for peak in band_peaks(seq, BANDS, PROTON, 1e-5):
        inside = np.abs(frequency - peak.frequency) < 1e-6
        assert amplitude[peak.axis, inside] == pytest.approx(peak.amplitude)


def test_the_course_of_the_power_peaks_where_the_largest_window_ends(tmp_path):
    """Two bursts of pulses in 40 s, the second stronger."""
    sequence = pp.Sequence(made.SYSTEM)
    pulses = [pp.make_block_pulse(flip, duration=1e-3, system=made.SYSTEM, delay=1e-4, use="other") for flip in (1, 2)]
    for pulse in pulses:
        for _ in range(20):
            sequence.add_block(pulse, pp.make_delay(0.1))
        sequence.add_block(pp.make_delay(18.0))
    seq = read_seq(made.write(sequence, tmp_path / "a.seq", "1.5.0"))
    power = rf_power(seq, PROTON)
    time, course = power_course(seq, PROTON, 10.0, 4001)
    assert course.max() == pytest.approx(power.windowed[0], rel=1e-6)
    assert course[np.searchsorted(time, power.window_start[0] + 10 - 0.05) + 10] == pytest.approx(course.max())
    assert course[time < 10.0].max() == pytest.approx(course.max() / 4, rel=1e-6)
    assert np.all(power_course(seq, PROTON, 360.0)[1] == pytest.approx(power.average))
    energy = np.trapezoid(power_course(seq, PROTON, 0.5, 40_001)[1], dx=1e-3)
    assert energy == pytest.approx(power.energy, rel=1e-2)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.seq")), ids=lambda path: path.stem)
def test_every_rule_has_a_title(path):
    report = check(path, PRISMA)
    assert len(report.kept) > 20
    for finding in (*report.findings, *report.kept):
        group, title = group_and_title(finding.rule)
        assert group != "Other"
        assert title != finding.rule.replace("-", " ") or finding.rule.startswith("label")
    assert [place(rule)[0] for rule in ("text", "slew-x", "slew-y", "b1")] == sorted(
        place(rule)[0] for rule in ("text", "slew-x", "slew-y", "b1")
    )
    assert group_and_title("unheard-of") == ("Other", "unheard of")


def test_kept_rules_are_told_once_at_their_smallest_margin():
    rows = [
        Finding(PASSED, "a", "", value=1.0, limit=10.0),
        Finding(PASSED, "a", "", value=-9.0, limit=10.0),
        Finding("warning", "b", "look", value=12.0, limit=10.0),
        Finding(PASSED, "b", "", value=1.0, limit=10.0),
        Finding("error", "c", "stop"),
        Finding(TOLD, "d", "", value=5.0),
    ]
    broken, kept = split(rows)
    assert [one.rule for one in broken] == ["c", "b"]
    assert [(one.rule, one.value) for one in kept] == [("a", -9.0), ("d", 5.0)]
    assert kept[0].margin == pytest.approx(0.1)
    assert broken[1].margin == pytest.approx(-0.2)
    assert Finding(PASSED, "e", "", value=12.0, limit=10.0, at_least=True).margin == pytest.approx(0.2)
    assert CheckReport("a scanner", broken, {}, kept).text().splitlines()[0] == (
        "NOT playable on a scanner: 1 error, 1 warning, 1 rule kept"
    )
