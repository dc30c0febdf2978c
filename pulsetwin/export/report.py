"""The report of a reconstruction: one HTML page that carries its figures and styles within itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1c2229; --soft: #5c6873; --line: #dde2e7; --page: #f6f7f9; --card: #fff;
  --accent: #2a6fbb; --warn: #fff6e0; --warn-line: #e0a92e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b0; --line: #333b44; --page: #14181c;
  --card: #1d2329; --accent: #7db4ee; --warn: #33290f; --warn-line: #b5882a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .8rem; }
p.sub { color: var(--soft); margin: .2rem 0 1.2rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; padding: 0; margin: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; }
.tiles b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; color: var(--accent); }
.tiles span { color: var(--soft); font-size: .85rem; }
ul.warnings { background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: 4px; margin: 1.2rem 0 0;
  padding: .7rem 1rem .7rem 2rem; overflow-wrap: anywhere; }
figure { margin: 0 0 1.2rem; background: #fff; color: #1c2229; border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem; }
figure img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption { color: #4c5762; font-size: .88rem; margin-top: .5rem; }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line); }
th, td { text-align: left; padding: .32rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { width: 38%; font-weight: 500; color: var(--soft); }
td { font-variant-numeric: tabular-nums; }
@media print { body { background: #fff; } figure { break-inside: avoid; } }
"""

UNITS = (
    ("level_before", 100, "%"),
    ("level_after", 100, "%"),
    ("fraction", 100, "%"),
    ("delay", 1e6, "µs"),
    ("phase", 1, "rad"),
)
"""End of a quality figure's name, factor to the displayed unit, and that unit."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the report.

    Parameters
    ----------
    name
        File name without suffix.
    section
        Heading under which it stands.
    caption
        What is to be seen, one or two sentences.
    png
        The picture itself.
    """

    name: str
    section: str
    caption: str
    png: bytes


def render(
    title: str,
    *,
    subtitle: str,
    quality: Mapping[str, float],
    warnings: Sequence[str],
    protocol: Mapping[str, str],
    pictures: Sequence[Picture],
    settings: Mapping[str, Any],
    provenance: Mapping[str, str],
    tables: Sequence[str] = (),
) -> str:
    """Return the report as HTML, without a link to anything outside itself.

    Parameters
    ----------
    title, subtitle
        What was scanned, and how it was reconstructed.
    quality
        Quality figures, name to number; shown first.
    warnings
        One sentence each.
    protocol
        Name to value with its unit.
    pictures
        Figures; consecutive ones of one section share a heading.
    settings
        The arguments of the run.
    provenance
        Version, hashes of the inputs, timings.
    tables
        Further HTML, shown behind the figures.
    """
    body = [f"<h1>{escape(title)}</h1><p class='sub'>{escape(subtitle)}</p>", _tiles(quality), _warnings(warnings)]
    section = ""
    for picture in pictures:
        if picture.section != section:
            section = picture.section
            body.append(f"<h2>{escape(section)}</h2>")
        body.append(figure_html(picture))
    body += tables
    for heading, rows in (("Protocol", protocol), ("Settings", settings), ("Provenance", provenance)):
        body.append(f"<h2>{heading}</h2>{table_html(rows)}")
    return page_html(title, body)


def page_html(title: str, body: Sequence[str], style: str = "") -> str:
    """Return a page of the parts of its `body`, with further `style` behind that of all reports."""
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
    head += f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    return (
        f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def quality_words(name: str, value: float) -> tuple[str, str]:
    """Return a quality figure as words and value with its unit, which the end of the name tells."""
    words = name.replace("_", " ").replace("snr", "SNR")
    for ending, scale, unit in UNITS:
        if name.endswith(ending):
            return words, f"{scale * value:.3g} {unit}"
    return words, f"{value:.4g}"


def _tiles(quality: Mapping[str, float]) -> str:
    """Show each quality figure large."""
    shown = (quality_words(name, value) for name, value in quality.items())
    items = (f"<li><b>{escape(value)}</b><span>{escape(words)}</span></li>" for words, value in shown)
    return f"<ul class='tiles'>{''.join(items)}</ul>" if quality else ""


def _warnings(warnings: Sequence[str]) -> str:
    """List the warnings, or nothing."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f"<ul class='warnings'>{items}</ul>" if warnings else ""


def figure_html(picture: Picture) -> str:
    """Embed a picture."""
    data = base64.b64encode(picture.png).decode("ascii")
    alt = escape(picture.caption, quote=True)
    source = f"data:image/png;base64,{data}"
    return f'<figure><img alt="{alt}" src="{source}"><figcaption>{escape(picture.caption)}</figcaption></figure>'


def table_html(rows: Mapping[str, Any]) -> str:
    """Write names and values as a table."""
    cells = (f"<tr><th>{escape(str(name))}</th><td>{escape(_value(value))}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _value(value: Any) -> str:
    """Write a setting as a person would."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
