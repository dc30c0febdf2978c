"""The verb `fit-diffusion`: the radius of particles from build-up curves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pulsetwin.cli.files import existing, writable
from pulsetwin.cli.timed import timed


def fit_diffusion(options: argparse.Namespace) -> int:
    """Fit a particle to the build-up curves of its solid and of the frozen solution around it."""
    inputs = {"curves": existing(options.curves), "particle": existing(options.config)}
    writable(options.output, inputs.values(), folder=True, force=options.force)
    from pulsetwin.export.spin_diffusion import shown, told_radius, write_fit
    from pulsetwin.recon.spin_diffusion.curves import read_curves
    from pulsetwin.recon.spin_diffusion.fit import STARTS, fit_radius
    from pulsetwin.recon.spin_diffusion.particle import Particle

    curves, particle = read_curves(inputs["curves"]), Particle.load(inputs["particle"])
    timings: dict[str, float] = {}
    with timed(timings, "fit"):
        found = fit_radius(curves, particle)
    write_fit(options.output, curves, found, inputs=inputs, timings=timings, force=options.force)
    lines = [f"radius   {told_radius(found)}, {found.agreeing} of {STARTS} starts"]
    for name, value in found.values.items():
        if name != "radius":
            (factor, unit), (low, high) = shown(name), found.precision.interval[name]
            ends = f"({factor * value * low:.4g} to {factor * value * high:.4g})"
            lines.append(f"{name}   {factor * value:.4g} {unit} {ends}".replace("  (", " ("))
    lines.append(f"report   {Path(options.output) / 'report.html'}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in found.warnings))
    return 0


def add_fit_diffusion(verb: argparse.ArgumentParser) -> None:
    """Describe the options of `fit-diffusion`."""
    verb.add_argument("curves", help="CSV with the columns time_s (or time_ms, time_min, time_h), solid, liquid")
    verb.add_argument("--config", required=True, metavar="TOML", help="what is known of the particle, what is free")
    verb.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to write")
    verb.add_argument("--force", action="store_true", help="replace the files of an earlier run")
