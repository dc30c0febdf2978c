"""Maps in an output folder: NIfTI files, each with a JSON file that tells unit, method, settings and inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin import __version__
from pulsetwin.atomic import atomic_folder, require_writable
from pulsetwin.export import summary
from pulsetwin.export.agreement_table import agreement_table
from pulsetwin.export.bids import Names, write_dataset
from pulsetwin.export.map_figures import draw_maps
from pulsetwin.export.nifti import write_nifti
from pulsetwin.export.pictures import Planned, drawn
from pulsetwin.export.qalas_report import region_table
from pulsetwin.export.report import render
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.lorentzians import LINES
from pulsetwin.recon.qalas.regions import Region
from pulsetwin.volume import Maps, Volume

MEANINGS = {
    "T1": "longitudinal relaxation time",
    "T2": "transverse relaxation time",
    "PD": "proton density times receive sensitivity, in units of the images",
    "IE": "inversion efficiency",
    "B1": "flip angle relative to the nominal one",
    "B0": "shift of water's frequency from that of the scanner",
    "B0_ppm": "shift of water's frequency from that of the scanner",
    "c": "signal where the pulse of WASABI turns nothing over, relative to M0 or in units of the images",
    "d": "how much less where it turns all over, relative to M0 or in units of the images",
    "M0": "signal in equilibrium, or at an echo time of 0, in units of the images",
    "recovered": "what recovers, relative to M0: 1 after a saturation, 2 after an inversion",
    "MTRasym": "asymmetry of the magnetisation transfer ratio, Z(-w) - Z(w)",
    "shift": "shift of water's line from the frequency of the scanner",
    **{pool: f"depth of the line of {pool} in the Z-spectrum" for pool in LINES},
    "LD_amide": "Lorentzian difference, what water and MT do not explain, at the offset of amide",
    "LD_noe": "Lorentzian difference, what water and MT do not explain, at the offset of NOE",
    "offset": "to what the echoes decay, in units of the images",
    "residual": "root mean square of what the model leaves of the contrasts",
    "R2": "part of the variance of a voxel's data that the model explains",
    "water_T1": "longitudinal relaxation time of water",
    "water_T2": "transverse relaxation time of water",
}
_OF_POOLS = {
    "fraction": "equilibrium magnetisation, relative to that of water, of the pool",
    "concentration": "concentration of the solute of the pool",
    "exchange_rate": "rate of exchange to water of the pool",
    "pH": "pH, by its calibration, from the exchange rate of the pool",
    "shift": "chemical shift from water of the pool",
    "t1": "longitudinal relaxation time of the pool",
    "t2": "transverse relaxation time of the pool",
}
_DEVIATION = "least standard deviation that the noise allows (Cramer and Rao) of the "


@dataclass(frozen=True, slots=True)
class Mapped:
    """What was made of the images of a scan.

    Parameters
    ----------
    method
        Such as ``QALAS``, a name for files and headings.
    maps
        The maps, of one grid.
    settings
        How they were made, name to value.
    synthetic
        Name to image of another sequence, computed from the maps.
    sequences
        Name to what that sequence is.
    regions
        Values in regions.
    agreement
        Name of each map that a reference was given for to its figures of agreement, as `recon.agreement` names them.
    """

    method: str
    maps: Maps
    settings: dict[str, Any]
    synthetic: dict[str, Volume] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)


def write_maps(folder: Path, mapped: Mapped, inputs: Mapping[str, Any], bids: str | None = None) -> None:
    """Write maps, their mask and synthetic images with their JSON files into a folder.

    Parameters
    ----------
    folder
        Where ``maps`` and ``synthetic`` appear, or with `bids` the files of a BIDS derivative.
    mapped
        What to write.
    inputs
        Role to the facts of `summary.file_facts`.
    bids
        Subject and session, as in ``sub-01`` or ``sub-01_ses-2``; plain names if None.
    """
    names = Names(mapped.method, bids)
    common = _common(dict(inputs), mapped.maps, mapped.settings)
    for name, volume in mapped.maps.volumes.items():
        told = _DEVIATION * name.endswith("_std") + _meaning(name.removesuffix("_std"))
        _write(folder / names.map(name), volume, {"Description": told, **common})
    valid = next(iter(mapped.maps.volumes.values()))
    mask = Volume(valid.valid, "", valid.affine, valid.valid)
    _write(folder / names.mask(), mask, {"Description": "voxels whose maps are valid", **common})
    for name, volume in mapped.synthetic.items():
        told = f"computed from the maps, not measured: {mapped.sequences[name]}"
        _write(folder / names.synthetic(name), volume, {"Description": told, **common})
    if bids:
        write_dataset(folder, mapped.method)


def planned_figures(mapped: Mapped) -> list[Planned]:
    """Return what is to be drawn of maps."""
    volumes = mapped.maps.volumes
    main = {name: one for name, one in volumes.items() if not name.endswith("_std") and name != "residual"}
    rest = {name: one for name, one in volumes.items() if name not in main}
    plans: list[Planned] = [("maps", "Maps", _MAPS, lambda: draw_maps(main))]
    if rest:
        plans.append(("uncertainty", "Maps", _UNCERTAINTY, lambda: draw_maps(rest, cuts=False)))
    if mapped.synthetic:
        plans.append(("synthetic", "Synthetic images", _SYNTHETIC, lambda: draw_maps(mapped.synthetic, cuts=False)))
    return plans


_MAPS = "Maps through the centre of what is valid; black voxels are not valid."
_UNCERTAINTY = "What the model does not explain and, where the noise is known, standard deviations."
_SYNTHETIC = (
    "Images of other sequences, computed from the maps. At the rim of fluid, where voxels hold two tissues, FLAIR and "
    "double inversion differ from measured ones."
)


def write_mapping(
    out: str | Path,
    mapped: Mapped,
    *,
    inputs: Mapping[str, str | Path],
    timings: Mapping[str, float],
    protocol: Mapping[str, str],
    bids: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Write maps, figures, a report and a summary to the folder `out`, which appears complete or not at all.

    Parameters
    ----------
    out
        Output folder.
    mapped
        What was made of the images.
    inputs
        Role to file, hashed for the record.
    timings
        Name of each step so far to its duration [s].
    protocol
        What is known of the scan, for the report.
    bids
        Subject and session of a BIDS derivative; plain names if None.
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
        facts = {role: summary.file_facts(path, progress) for role, path in inputs.items()}
        write_maps(folder, mapped, facts, bids)
        pictures, problems = drawn(planned_figures(mapped), folder / "figures", progress)
        outputs = sorted([*written(folder), "report.html", "summary.json"])
        content = {
            "schema": summary.SCHEMA, "pulsetwin": __version__, "inputs": facts, "maps": map_facts(mapped),
            "warnings": [*mapped.maps.warnings, *problems],
            "timings_s": {**timings, "write": time.perf_counter() - began}, "outputs": outputs,
        }  # fmt: skip
        summary.write_json(folder / "summary.json", content)
        title = next(iter(facts.values()))["file"]
        page = render(
            title, subtitle=f"{mapped.method} maps by pulsetwin {__version__}", quality=quality(mapped),
            warnings=content["warnings"], protocol=protocol, pictures=pictures, settings=mapped.settings,
            provenance=summary.provenance(facts), tables=report_tables(mapped),
        )  # fmt: skip
        (folder / "report.html").write_text(page, encoding="utf-8")
    return outputs


def write_b1(path: str | Path, maps: Maps, inputs: Sequence[str | Path], *, force: bool = False) -> None:
    """Write a map of B1 as one NIfTI file, 0 where it is not valid, with a JSON file beside it.

    Parameters
    ----------
    path
        File to write.
    maps
        ``B1``.
    inputs
        Files it was made of.
    force
        Whether to replace existing files.
    """
    path = Path(path)
    side = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    facts = {"Description": MEANINGS["B1"], **_common([summary.file_facts(one) for one in inputs], maps, {})}
    require_writable(side, force=force)
    write_nifti(path, maps["B1"].values, maps["B1"].affine, force=force)
    summary.write_json(side, {"Units": "arbitrary", **facts}, force=force)


def report_tables(mapped: Mapped) -> list[str]:
    """Return the tables of a report as HTML."""
    tables = [region_table(mapped.regions, mapped.maps)] if mapped.regions else []
    return tables + ([agreement_table(mapped.agreement)] if mapped.agreement else [])


def map_facts(mapped: Mapped) -> dict[str, Any]:
    """Return what `summary.json` tells of maps."""
    return {
        "method": mapped.method,
        "settings": mapped.settings,
        "units": {name: volume.unit for name, volume in mapped.maps.volumes.items()},
        "regions": mapped.regions,
        "agreement": mapped.agreement,
    }


def quality(mapped: Mapped) -> dict[str, float]:
    """Return figures of quality by name."""
    first = next(iter(mapped.maps.volumes.values()))
    return {"valid_voxels": float(first.valid.sum())}


def written(folder: Path) -> list[str]:
    """List the files of a folder, relative to it."""
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def _meaning(name: str) -> str:
    """Return what a map holds; those of pools are named ``<pool>_<what>``."""
    for what, told in _OF_POOLS.items():
        if name not in MEANINGS and name.endswith(f"_{what}"):
            return f"{told} {name.removesuffix(f'_{what}')}"
    return MEANINGS.get(name, name)


def _common(sources: Any, maps: Maps, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the JSON files of all maps say."""
    return {
        "GeneratedBy": [{"Name": "pulsetwin", "Version": __version__}],
        "Settings": settings,
        "Sources": sources,
        "Warnings": list(maps.warnings),
    }


def _write(path: Path, volume: Volume, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.asarray(volume.values, np.float32), volume.affine)
    side = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    summary.write_json(side, {"Units": volume.unit or "arbitrary", **facts})
