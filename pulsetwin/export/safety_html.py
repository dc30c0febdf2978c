"""The safety report as one HTML page that carries its figures and styles within itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pulsetwin.export import safety_figures as figures
from pulsetwin.export.diagram import diagram
from pulsetwin.export.figures import to_png
from pulsetwin.export.findings import ERROR, PASSED, TOLD, CheckReport, Finding
from pulsetwin.export.report import Picture, figure_html, page_html, table_html
from pulsetwin.export.safety_rules import GROUPS, group_and_title, place
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import SeqFile

_STYLE = """
:root { --good: #1e7d46; --bad: #b3261e; --care: #9a6700; --track: #e7eaee; }
@media (prefers-color-scheme: dark) { :root { --good: #6cc48f; --bad: #f2857c; --care: #e3b341; --track: #333b44; } }
main { max-width: 76rem; }
.verdict { border-left: 6px solid var(--tone); background: var(--card); border-radius: 6px; padding: .9rem 1.2rem;
  margin: 1rem 0; }
.verdict b { font-size: 1.3rem; color: var(--tone); display: block; }
.good { --tone: var(--good); } .bad { --tone: var(--bad); } .care { --tone: var(--care); }
.calm { --tone: var(--soft); }
ul.findings { list-style: none; padding: 0; margin: 1rem 0 0; }
ul.findings li { border-left: 4px solid var(--tone); background: var(--card); padding: .5rem .9rem; margin: .4rem 0;
  border-radius: 4px; overflow-wrap: anywhere; }
ul.findings b { color: var(--tone); }
table.rules th, table.grid th { width: auto; }
table.rules thead th, table.grid thead th { font-size: .82rem; overflow-wrap: normal; }
table.rules td.what { min-width: 22rem; }
table.rules td, table.grid td { white-space: nowrap; }
table.rules td.what { white-space: normal; }
td.number { text-align: right; }
td.state { color: var(--tone); font-weight: 600; }
tr.group th { background: var(--page); color: var(--ink); font-weight: 600; padding-top: .7rem; }
.bar { display: inline-block; width: 5rem; height: .55rem; border-radius: 3px; background: var(--track);
  vertical-align: middle; margin-right: .5rem; overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--tone); }
"""
_UNITS = {"field_strength": "T", "max_gradient": "T/m", "max_slew": "T/m/s", "max_b1": "T", "gamma": "Hz/T"}
_STATES = {ERROR: ("broken", "bad"), "warning": ("look", "care"), PASSED: ("kept", "good"), TOLD: ("told", "calm")}


def safety_page(
    report: CheckReport, scanner: Scanner, facts: Mapping[str, Any], pictures: Iterable[Picture] = ()
) -> str:
    """Return the report as HTML, without a link to anything outside itself.

    Parameters
    ----------
    report, scanner
        What the check found, for which scanner.
    facts
        What `safety_facts.report_facts` returned.
    pictures
        What `safety_pictures` drew.
    """
    file = facts["sequence"]["file"]
    name = facts["sequence"]["definitions"].get("Name") or file.removesuffix(".seq")
    body = [
        f"<h1>{escape(str(name))}</h1><p class='sub'>Safety report of {escape(file)} for {escape(report.scanner)}</p>",
        _verdict(report),
        _tiles(report, scanner, facts["sequence"]),
        _findings(report),
        _section("Sequence", table_html(_sequence(facts["sequence"]))),
        _section("Rules", _rules((*report.findings, *report.kept))),
        *(_section(picture.section, figure_html(picture)) for picture in pictures),
        _section("Interpreters", _interpreters(report), _sizes(facts["sizes"])),
        _section("Not checked", "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in facts["not_checked"]) + "</ul>"),
        _section("Scanner settings", table_html(_settings(facts["scanner_settings"]))),
        _section("Identity", table_html(_identity(facts))),
    ]
    return page_html(f"{name}: safety report", body, _STYLE)


def _section(title: str, *parts: str) -> str:
    return f"<h2>{escape(title)}</h2>" + "".join(parts)


def _verdict(report: CheckReport) -> str:
    tone = "bad" if report.errors else "care" if report.warnings else "good"
    words = "Playable" if report.playable else "Not playable"
    words += ", with warnings to look at" * (report.playable and bool(report.warnings))
    return f"<div class='verdict {tone}'><b>{words}</b>on {escape(report.scanner)}: {report.counts}</div>"


def _tiles(report: CheckReport, scanner: Scanner, sequence: Mapping[str, Any]) -> str:
    """Show the main numbers large, with how much of the limit they use."""
    peaks = report.peaks
    gradient, slew = (max(peaks[f"{what} {axis} [{unit}]"] for axis in "xyz") for what, unit in (
        ("gradient", "mT/m"), ("slew", "T/m/s"),
    ))  # fmt: skip
    nerves = [name for name in peaks if name.startswith("PNS") and name.endswith("[%]")]
    shown = (
        (_duration(sequence["duration_s"]), "duration"),
        (f"{gradient:.3g} mT/m", f"gradient, {_share(gradient, 1e3 * scanner.max_gradient)}"),
        (f"{slew:.3g} T/m/s", f"slew rate, {_share(slew, scanner.max_slew)}"),
        (f"{peaks['B1 [uT]']:.3g} µT", f"B1, {_share(peaks['B1 [uT]'], 1e6 * scanner.max_b1)}"),
        (f"{peaks['B1 rms 6 min [uT]']:.3g} µT", "rms B1 of 6 min"),
        *((f"{peaks[name]:.3g} %", "nerve stimulation" + " (example coefficients)" * (scanner.pns is None))
          for name in nerves),
    )  # fmt: skip
    items = (f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for value, name in shown)
    return f"<ul class='tiles'>{''.join(items)}</ul>"


def _share(value: float, limit: float) -> str:
    return f"{100 * value / limit:.0f} % of the limit"


def _findings(report: CheckReport) -> str:
    items = []
    for finding in report.findings:
        tone = _STATES[finding.severity][1]
        text = " ".join(str(finding).split()[1:])
        items.append(f"<li class='{tone}'><b>{finding.severity}</b> {escape(text)}</li>")
    return f"<ul class='findings'>{''.join(items)}</ul>" if items else ""


def _sequence(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return protocol and content of the sequence; see `describe_seq`."""
    rows = {
        "duration": f"{_duration(facts['duration_s'])} ({facts['blocks']} blocks)",
        "TR": _milliseconds([facts["tr_ms"]] if facts.get("tr_ms") else []),
        "TE": _milliseconds(facts.get("te_ms", [])),
    }
    for pulse in facts["pulses"]:
        low, high = (f"{flip:.4g}" for flip in pulse["flip_deg"])
        flips = f"{low}°" if low == high else f"{low}° to {high}°"
        rows[f"pulses: {pulse['use']}"] = f"{pulse['played']} of {flips}"
    for key, title, unit in (
        ("matrix", "matrix", ""), ("fov_mm", "field of view", " mm"), ("resolution_mm", "resolution", " mm"),
    ):  # fmt: skip
        if any(facts.get(key, ())):
            rows[title] = " × ".join("–" if value is None else f"{value:.4g}" for value in facts[key]) + unit
    rows["acquisitions"] = "; ".join(
        f"{kind['readouts']} of {kind['samples']} samples, dwell {kind['dwell_us']:g} µs"
        for kind in facts["acquisitions"]
    )
    rows["labels"] = ", ".join(f"{name} {low} to {high}" for name, (low, high) in facts["labels"].items())
    rows["features of Pulseq 1.5"] = ", ".join(facts["needs"])
    rows["Pulseq version"] = facts["version"]
    return {name: value or "none" for name, value in rows.items()}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{seconds:.6g} s" + (f" = {minutes:.0f} min {rest:.0f} s" if minutes else "")


def _milliseconds(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.5g}" for value in values) + " ms" if values else ""


def _rules(findings: Iterable[Finding]) -> str:
    """Return the table of all rules, group by group."""
    rows: dict[str, list[str]] = {group: [] for group in GROUPS}
    for finding in sorted(findings, key=lambda finding: place(finding.rule)):
        group, title = group_and_title(finding.rule)
        rows[group].append(_rule(finding, title))
    head = "".join(f"<th>{name}</th>" for name in ("", "rule", "value", "limit", "margin", "worst place", "blocks"))
    body = "".join(
        f"<tr class='group'><th colspan='7'>{escape(group)}</th></tr>{''.join(lines)}"
        for group, lines in rows.items()
        if lines
    )
    return f"<table class='rules'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _rule(finding: Finding, title: str) -> str:
    state, tone = _STATES[finding.severity]
    title += f": {finding.message}" if finding.severity == TOLD and finding.value is None else ""
    unit = f" {finding.unit}" if finding.unit else ""
    value = "" if finding.value is None else f"{round(finding.value, 6) + 0.0:.5g}{unit}"
    limit = "" if finding.limit is None else f"{'≥' if finding.at_least else '≤'} {finding.limit:.5g}"
    where = "" if finding.block is None else f"block {finding.block}, {finding.time:.6g} s"
    counted = str(finding.count) if finding.count > 1 else ""
    return (
        f"<tr class='{tone}'><td class='state'>{state}</td><td class='what'>{escape(title)}</td>"
        f"<td class='number'>{escape(value)}</td><td class='number'>{limit}</td><td>{_margin(finding.margin)}</td>"
        f"<td>{where}</td><td class='number'>{counted}</td></tr>"
    )


def _margin(margin: float | None) -> str:
    """Return what is left of the limit, with a bar of what is used."""
    if margin is None:
        return ""
    used = max(0.0, min(1.0, 1 - margin))
    return f"<span class='bar'><i style='width:{100 * used:.0f}%'></i></span>{round(100 * margin) + 0} %"


def safety_pictures(report: CheckReport, seq: SeqFile, scanner: Scanner) -> list[Picture]:
    """Draw gradients, nerve stimulation, gradient spectra, RF power, the first repetition and k-space."""
    example = "" if scanner.pns else " The coefficients are examples, of no real scanner: this one's are unknown."
    bands = "" if scanner.forbidden_bands else " No forbidden bands are known of this scanner: nothing is judged."
    drawn = [
        ("Gradients", "Range of each axis over the sequence; dashed: limits of the scanner.",
         figures.gradient_figure(seq, scanner)),
        *(("Nerve stimulation", "SAFE model; dashed: limit, dotted: 80 %." + example,
           figures.nerve_figure(seq, scanner, time)) for name, time in report.peaks.items() if name == "PNS time [s]"),
        ("Gradient spectrum", "Largest amplitude in any 50 ms; shaded: forbidden bands, with the limit that is judged "
         "within." + bands, figures.spectrum_figure(seq, scanner)),
        ("RF power", "Root mean square B1 of the time before; a sequence shorter than the window counts as repeated.",
         figures.power_figure(seq, scanner)),
        ("First repetition and k-space", "The first repetition that acquires; k-space of all imaging readouts.",
         diagram(seq, scanner=scanner)),
    ]  # fmt: skip
    return [Picture(title, title, caption, to_png(figure)) for title, caption, figure in drawn]


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a heading over each column; the first cell of a row names it."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = (
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<table class='grid'><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _interpreters(report: CheckReport) -> str:
    """Return which interpreter has which feature that the file uses, and whether it plays the file."""
    known = report.interpreters
    used = known[0].features if known else {}
    rows = [(name, *(verdict.features[name] for verdict in known)) for name in used]
    rows.append(("plays the file as meant", *("yes" if verdict.plays else "no" for verdict in known)))
    reasons = [f"<li>{escape(one.interpreter)}: {escape('; '.join(one.reasons))}</li>" for one in known if one.reasons]
    notes = f"<ul>{''.join(reasons)}</ul>" if reasons else ""
    return _grid(("features of the file", *(verdict.interpreter for verdict in known)), rows) + notes


def _sizes(sizes: Mapping[str, Mapping[str, int | None]]) -> str:
    columns = [name for name in next(iter(sizes.values())) if name != "file"]
    rows = [
        (name, str(row["file"]), *("–" if row[one] is None else str(row[one]) for one in columns))
        for name, row in sizes.items()
    ]
    return "<p></p>" + _grid(("table", "in the file", *(f"most of {name}" for name in columns)), rows)


def _settings(settings: Mapping[str, Any]) -> dict[str, str]:
    rows = {}
    for name, value in settings.items():
        shown = "unknown" if value in (None, ()) else _setting(name, value)
        rows[name.replace("_", " ")] = shown
    return rows


def _setting(name: str, value: Any) -> str:
    if name == "forbidden_bands":
        return ", ".join(f"{low:g} to {high:g} Hz" for low, high in value)
    if name == "pns":
        return "; ".join(
            f"{axis}: tau {', '.join(f'{1e3 * tau:g}' for tau in one['tau'])} ms, weights "
            f"{', '.join(f'{weight:g}' for weight in one['weight'])}, limit {one['stimulation_limit']:g} T/m/s, scale "
            f"{one['gradient_scale']:g}"
            for axis, one in zip("xyz", value, strict=True)
        )
    return f"{value:g} {_UNITS.get(name, 's')}".rstrip() if isinstance(value, float) else str(value)


def _identity(facts: Mapping[str, Any]) -> dict[str, str]:
    rows = {}
    for role, file in facts["files"].items():
        rows[role] = f"{file['file']}, {file['bytes']} bytes"
        rows[f"SHA-256 of the {role}"] = file["sha256"]
    rows["MD5 signature"] = f"{facts['sequence']['signature'] or 'none'} ({facts['sequence']['signature_state']})"
    rows["checked by"] = f"pulsetwin {facts['pulsetwin']}"
    return rows
