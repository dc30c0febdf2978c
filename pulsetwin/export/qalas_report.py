"""The table of regions in a report of QALAS maps."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pulsetwin.recon.qalas.regions import Region
from pulsetwin.volume import Maps

_SHOWN = {"s": (1e3, "ms")}  # factor to the displayed unit


def region_table(regions: Sequence[Region], maps: Maps) -> str:
    """Return medians and quartiles of maps in regions as HTML, relaxation times in ms."""
    names = list(regions[0].values)
    units = {name: _SHOWN.get(maps[name].unit, (1.0, maps[name].unit)) for name in names}
    heads = "".join(f"<th>{escape(name)}{f' [{unit}]' if unit else ''}</th>" for name, (_, unit) in units.items())
    rows = []
    for region in regions:
        cells = "".join(
            f"<td>{_number(factor * region.values[name][0])}"
            f" ({_number(factor * region.values[name][1])} to {_number(factor * region.values[name][2])})</td>"
            for name, (factor, _) in units.items()
        )
        rows.append(f"<tr><th>{escape(region.name)}</th><td>{region.voxels}</td>{cells}</tr>")
    return (
        "<h2>Regions</h2><p class='sub'>Median and quartiles of the valid voxels.</p>"
        f"<table><tr><th>region</th><th>voxels</th>{heads}</tr>{''.join(rows)}</table>"
    )


def _number(value: float) -> str:
    """Return a value with four digits, without exponents where a person would write none."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
