"""What is written of a fit of build-up curves: table, figures, report and summary."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin import __version__
from pulsetwin.atomic import atomic_folder
from pulsetwin.export import summary
from pulsetwin.export.figures import new_figure
from pulsetwin.export.pictures import Planned, drawn
from pulsetwin.export.report import render, table_html
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.spin_diffusion.curves import Curves
from pulsetwin.recon.spin_diffusion.fit import STARTS, RadiusFit
from pulsetwin.recon.spin_diffusion.model import surface_polarisation
from pulsetwin.sim.spin_diffusion.finite_volumes import profile
from pulsetwin.sim.spin_diffusion.layers import refined
from pulsetwin.sim.spin_diffusion.uniform_liquid import solid_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"solid": "tab:blue", "liquid": "tab:orange"}
_CELLS = 100  # of each layer in the figure of P(r, t)
_UNITS = {"radius": (1e9, "nm"), "diffusion": (1e18, "nm²/s"), "t1": (1.0, "s")}  # factor to what is shown
_FIT = "Measured build-up of solid and liquid, the particle that fits them best, and what it leaves."
_PROFILE = "Polarisation within the particle and the frozen solution around it, at times spread over the measured ones."


def write_fit(
    out: str | Path,
    curves: Curves,
    found: RadiusFit,
    *,
    inputs: Mapping[str, str | Path],
    timings: Mapping[str, float],
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Write ``fit.csv``, figures, ``report.html`` and ``summary.json`` to a folder that appears complete or not at all.

    Parameters
    ----------
    out
        Output folder.
    curves, found
        What was measured, and what fits it.
    inputs
        Role to file, hashed for the record.
    timings
        Name of each step so far to its duration [s].
    force
        Whether to replace the files of an earlier run.
    progress
        Called with steps done, steps in total and what is done.

    Returns
    -------
    list of str
        The files written, relative to `out`.
    """
    began = time.perf_counter()
    with atomic_folder(out, force=force, stale=summary.previous_outputs(out)) as folder:
        facts = {role: summary.file_facts(path) for role, path in inputs.items()}
        _write_table(folder / "fit.csv", curves, found)
        pictures, problems = drawn(planned_figures(curves, found), folder / "figures", progress)
        outputs = sorted(["fit.csv", *(f"figures/{one.name}.png" for one in pictures), "report.html", "summary.json"])
        warnings = [*found.warnings, *problems]
        content = {
            "schema": summary.SCHEMA, "pulsetwin": __version__, "settings": asdict(found.particle), "inputs": facts,
            "fit": fit_facts(found), "warnings": warnings,
            "timings_s": {**timings, "write": time.perf_counter() - began}, "outputs": outputs,
        }  # fmt: skip
        summary.write_json(folder / "summary.json", content)
        page = render(
            facts["curves"]["file"], subtitle=f"Particle radius from spin diffusion by pulsetwin {__version__}",
            quality={f"{name} [{shown(name)[1]}]": shown(name)[0] * value for name, value in found.values.items()},
            warnings=warnings, protocol={}, pictures=pictures, settings=_settings(found),
            provenance=summary.provenance(facts), tables=_tables(found),
        )  # fmt: skip
        (folder / "report.html").write_text(page, encoding="utf-8")
    return outputs


def planned_figures(curves: Curves, found: RadiusFit) -> list[Planned]:
    """Return what is to be drawn."""
    return [
        ("fit", "Fit", _FIT, lambda: draw_fit(curves, found)),
        ("polarisation", "Polarisation", _PROFILE, lambda: draw_profile(curves, found)),
    ]


def draw_fit(curves: Curves, found: RadiusFit) -> Figure:
    """Draw both curves with the fit, and what it leaves in standard deviations of the noise."""
    figure = new_figure(8, 6)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    for name, predicted, left in _rows(found):
        style = {"color": _COLOURS[name]}
        above.plot(curves.times, getattr(curves, name), "o", fillstyle="none", markersize=4, label=name, **style)
        above.plot(curves.times, predicted, **style)
        below.plot(curves.times, left, "o-", markersize=3, linewidth=0.6, **style)
    if len(found.predicted) == 1:
        above.plot(curves.times, curves.liquid, ".", label="liquid (given)", color=_COLOURS["liquid"])
    above.set(xscale="log", ylabel="mean polarisation", title=f"radius {told_radius(found)}")
    above.legend(frameon=False)
    below.axhline(0, color="0.6", linewidth=1)
    below.set(xlabel="time since saturation [s]", ylabel="left / noise")
    return figure


def draw_profile(curves: Curves, found: RadiusFit) -> Figure:
    """Draw P(r) at six times spread over the measured ones."""
    from matplotlib import colormaps

    times = np.geomspace(curves.times[0], curves.times[-1], 6)
    places, polarisation, end = _polarisation(curves, found, times)
    figure = new_figure(8, 5)
    axes = figure.subplots()
    colours = colormaps["viridis"](np.linspace(0.9, 0, len(times)))
    for time_, row, colour in zip(times, polarisation.T, colours, strict=True):
        axes.plot(1e9 * places, row, color=colour, label=f"{time_:.3g} s")
    axes.axvspan(0, 1e9 * found.radius, color="0.94", zorder=0)
    axes.set(xlim=(0, 1e9 * end), xlabel="r [nm]; the solid is shaded", ylabel="polarisation")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _polarisation(curves: Curves, found: RadiusFit, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return distances from the centre [m], the polarisation there ``[place, time]``, and where the liquid ends [m].

    A uniform liquid has no size: it is shown for a tenth of the radius.
    """
    if found.particle.boundary == "uniform":
        inside = np.linspace(0, 1, 2 * _CELLS)
        known = asdict(found.particle.solid) | {"radius": found.radius}
        surface = surface_polarisation(curves)
        within = solid_profile(found.particle.shape, known, surface, times, inside)
        beside = np.interp(times, *surface)
        places = found.radius * np.append(inside, [1.0, 1.1])
        return places, np.vstack((within, beside, beside)), places[-1]
    fine, _ = refined(found.particle.layers(found.radius), _CELLS, times)
    places = 0.5 * (fine.edges + np.concatenate(([0.0], fine.edges[:-1])))
    return places, profile(fine, times).numpy(), fine.edges[-1]


def fit_facts(found: RadiusFit) -> dict[str, Any]:
    """Return what ``summary.json`` tells of a fit; values in SI units."""
    told = found.precision
    scaled = (found.measured - found.predicted) / found.noise[:, None]
    return {
        "radius_m": found.radius,
        "values": found.values,
        "relative_deviation_bound": told.bound,
        "interval": {name: [found.values[name] * end for end in ends] for name, ends in told.interval.items()},
        "correlation": told.correlation,
        "radius_change_percent_per_percent": told.sensitivity,
        "radius_deviation_were_all_else_known": told.alone,
        "noise": found.noise,
        "residual_rms": np.sqrt(np.square(found.measured - found.predicted).mean(1)),
        "chi2_per_degree_of_freedom": float(np.square(scaled).sum() / (scaled.size - len(found.values))),
        "starts": STARTS,
        "starts_agreeing": found.agreeing,
    }


def told_radius(found: RadiusFit) -> str:
    """Return the radius with its interval in nm."""
    low, high = (1e9 * found.radius * end for end in found.precision.interval["radius"])
    return f"{1e9 * found.radius:.4g} nm ({low:.4g} to {high:.4g})"


def shown(name: str) -> tuple[float, str]:
    """Return the factor to the unit in which a parameter is shown, and that unit."""
    return _UNITS.get(name.split(".")[-1], (1.0, ""))


def _rows(found: RadiusFit) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, prediction and what is left, in standard deviations, of each fitted curve."""
    left = (found.measured - found.predicted) / found.noise[:, None]
    return list(zip(("solid", "liquid"), found.predicted, left, strict=False))


def _write_table(path: Path, curves: Curves, found: RadiusFit) -> None:
    """Write the measured curves with the fit beside them."""
    names = [f"{name}_fit" for name, _, _ in _rows(found)]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["time_s", "solid", "liquid", *names])
        rows = np.column_stack((curves.times, curves.solid, curves.liquid, *found.predicted))
        table.writerows([f"{value:.9g}" for value in row] for row in rows)


def _settings(found: RadiusFit) -> dict[str, Any]:
    """Return what was taken as known, for the report."""
    facts = asdict(found.particle)
    phases = {f"{phase}.{name}": value for phase in ("solid", "liquid") for name, value in facts.pop(phase).items()}
    return {name: value for name, value in {**facts, **phases}.items() if value is not None}


def _tables(found: RadiusFit) -> list[str]:
    """Return tables of the free parameters and of what the radius depends on."""
    told = found.precision
    free = {}
    for name, value in found.values.items():
        factor, unit = shown(name)
        low, high = (factor * value * end for end in told.interval[name])
        free[name] = (
            f"{factor * value:.5g} {unit}; {low:.5g} to {high:.5g} by profile likelihood (one standard deviation); "
            f"no better than {100 * told.bound[name]:.2g} % by Cramér and Rao"
        )
    fixed = {name: f"{change:+.3f} % of radius for +1 %" for name, change in told.sensitivity.items()}
    heads = "<h2>Free parameters</h2>", "<h2>What the radius owes to what was taken as known</h2>"
    return [heads[0] + table_html(free), heads[1] + table_html(fixed)]
