"""The output folder of a reconstruction: images, figures, report and summary, moved into place together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin import __version__
from pulsetwin.atomic import atomic_folder
from pulsetwin.errors import ProtocolError
from pulsetwin.export import data_figures, figures, nifti, raser_figures, summary
from pulsetwin.export.describe_raw import protocol
from pulsetwin.export.maps_output import Mapped, map_facts, planned_figures, report_tables, write_maps, written
from pulsetwin.export.pictures import Planned, drawn
from pulsetwin.export.report import Picture, render
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData
from pulsetwin.volume import Images

EXTRAS = ("uncorrected", *raser_figures.EXTRAS)
DEEP = 16


def write_recon(
    out: str | Path,
    raw: RawData,
    images: Images,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str | Path],
    timings: Mapping[str, float],
    extras: Mapping[str, np.ndarray] | None = None,
    mapped: Mapped | None = None,
    bids: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Write a reconstruction to the folder `out`, which appears complete or not at all.

    Parameters
    ----------
    out
        Output folder.
    raw, images
        What was read and what was reconstructed.
    settings
        The arguments of the run, for the record.
    inputs
        Role (``scan``, ``seq``, ``reference``, ...) to file, hashed for the record.
    timings
        Name of each step so far to its duration [s].
    extras
        ``uncorrected``: magnitude of the first contrast without ghost correction, ``[z, y, x]``; or those of a RASER
        scan, see `raser_figures`.
    mapped
        Maps that were made of the images, if any.
    bids
        Subject and session by which the maps are named, see `maps_output.write_maps`.
    force
        Whether to replace the files of an earlier run; other files in the folder stay.
    progress
        Called with steps done, steps in total and what is done.

    Returns
    -------
    list of str
        The files written, relative to `out`.
    """
    unknown = set(extras or {}) - set(EXTRAS)
    if unknown:
        raise ProtocolError(f"extras {sorted(unknown)} are unknown: give some of {', '.join(EXTRAS)}")
    began = time.perf_counter()
    with atomic_folder(out, force=force, stale=summary.previous_outputs(out)) as folder:
        facts = {role: summary.file_facts(path, progress) for role, path in inputs.items()}
        _write_images(folder, images, progress)
        if mapped is not None:
            write_maps(folder, mapped, facts, bids)
        planned = [*([] if mapped is None else planned_figures(mapped)), *_plan(raw, images, extras or {})]
        pictures, problems = drawn(planned, folder / "figures", progress)
        outputs = sorted([*written(folder), "report.html", "summary.json"])
        timings = {**timings, "write": time.perf_counter() - began}
        content = summary.summarise(raw, images, settings=settings, inputs=facts, timings=timings, outputs=outputs)
        if mapped is not None:
            content["maps"] = map_facts(mapped)
            content["warnings"] = list(dict.fromkeys((*content["warnings"], *mapped.maps.warnings)))
        content["warnings"] += problems
        summary.write_json(folder / "summary.json", content)
        page = _page(raw, images, content, pictures, [] if mapped is None else report_tables(mapped))
        (folder / "report.html").write_text(page, encoding="utf-8")
    return outputs


def _write_images(folder: Path, images: Images, progress: Progress) -> None:
    """Write the images for viewers and for further work, and the SNR map where noise is known."""
    progress(0, 3, "writing images")
    nifti.write_magnitude(folder / "images.nii.gz", images)
    progress(1, 3, "writing images")
    nifti.write_complex(folder / "images_complex.npy", images)
    progress(2, 3, "writing images")
    if images.noise_std is not None:
        nifti.write_snr(folder / "snr.nii.gz", images)
    progress(3, 3, "writing images")


def _plan(raw: RawData, images: Images, extras: Mapping[str, np.ndarray]) -> list[Planned]:
    """List name, section, caption and drawing function of each figure these data have."""
    group = raw.groups[0]
    known = {
        "images": (True, *_IMAGES, lambda: figures.magnitude(images)),
        "planes": (images.values.shape[1] >= DEEP, *_PLANES, lambda: figures.planes(images)),
        "phase": (True, *_PHASE, lambda: figures.phase(images)),
        "ghost": ("uncorrected" in extras, *_GHOST, lambda: figures.ghost(extras["uncorrected"], images)),
        "snr": (images.noise_std is not None, *_SNR, lambda: figures.snr_map(images)),
        "noise": (raw.noise is not None, *_NOISE, lambda: data_figures.noise(raw)),
        "trajectory": (group.trajectory is not None, *_TRAJECTORY, lambda: data_figures.trajectory(raw)),
        "kspace": (True, *_KSPACE, lambda: data_figures.kspace(raw)),
    }
    usual = [(name, section, caption, draw) for name, (wanted, section, caption, draw) in known.items() if wanted]
    return [*usual, *raser_figures.planned(images, extras)]


_IMAGES = ("Images", "Magnitude, in radiological display: letters are the patient's directions.")
_PLANES = ("Images", "Three planes through the centre of the volume, first contrast.")
_PHASE = ("Images", "Phase, where there is signal.")
_GHOST = (
    "Ghost correction",
    "The same slice without and with the correction of even and odd echoes; below, ten times brighter.",
)
_SNR = ("Noise", "Signal-to-noise ratio of each voxel: magnitude over the standard deviation of the noise.")
_NOISE = ("Noise", "Noise of the receive channels as measured, before whitening.")
_TRAJECTORY = ("Raw data", "Positions of the samples in k-space; long scans show evenly spread readouts.")
_KSPACE = ("Raw data", "Raw samples in the order of acquisition, root sum of squares of the channels.")


def _page(raw: RawData, images: Images, content: dict[str, Any], pictures: list[Picture], tables: list[str]) -> str:
    """Compose the report."""
    scan = content["inputs"].get("scan", {}).get("file", "Reconstruction")
    provenance = summary.provenance(content["inputs"])
    provenance |= {f"time to {step}": f"{seconds:.2f} s" for step, seconds in content["timings_s"].items()}
    return render(
        scan,
        subtitle=f"{figures.describe_grid(images)}, reconstructed by pulsetwin {__version__}",
        quality=images.quality,
        warnings=content["warnings"],
        protocol=protocol(raw),
        pictures=pictures,
        settings=content["settings"],
        provenance=provenance,
        tables=tables,
    )
