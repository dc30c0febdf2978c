"""Phantoms as NIfTI: a folder of named maps, or one 4D file with a JSON file that names its volumes."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor

from pulsetwin.atomic import atomic_file, atomic_folder
from pulsetwin.errors import FileError, OutputExistsError, ProtocolError
from pulsetwin.sim.phantom import VOXEL_SHAPES, Phantom

UNITS = {"proton_density": "", "t1": "s", "t2": "s", "t2_prime": "s", "diffusion": "m^2/s", "b0": "Hz"}
_DEFAULTS = {"t2_prime": math.inf, "diffusion": 0.0, "b0": 0.0}
_COMPLEX = ("b1", "coils")
_SETTINGS = "phantom.json"
_METRES = {"meter": 1.0, "mm": 1e-3, "micron": 1e-6, "unknown": 1e-3}
_DAMAGE = (
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    *(OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, zlib.error),
)
_TOO_LONG = 100.0  # a median relaxation time [s] that only milliseconds explain


def save(phantom: Phantom, path: str | Path, *, force: bool = False) -> None:
    """Write a phantom, whole or not at all, as float32 NIfTI in SI units.

    A folder gets ``proton_density.nii.gz``, ``t1``, ``t2``, ``t2_prime``, ``diffusion``, ``b0``, and the real and
    imaginary parts ``b1_real``, ``b1_imag``, ``coils_real``, ``coils_imag`` with one volume a channel, and
    ``phantom.json`` with units and the shape of the voxels. A single 4D file holds the same volumes in a row; the JSON
    file beside it names them. Voxel ``n // 2`` lies at 0 mm; x, y, z are RAS.

    Parameters
    ----------
    phantom
        To write; maps are moved to the CPU.
    path
        A file if it ends in ``.nii`` or ``.nii.gz``, otherwise a folder.
    force
        Whether to replace what is there.

    Raises
    ------
    OutputExistsError
        If something is there already, or a folder holds files that are not a phantom's.
    ProtocolError
        If the phantom has exchanging pools, for which there is no format yet.
    """
    if phantom.pools:
        raise ProtocolError("phantom: exchanging pools cannot be written to NIfTI: remove them, or keep them in code")
    path = Path(path)
    volumes = _volumes(phantom)
    settings: dict[str, Any] = {"format": "pulsetwin phantom 1", "voxel_shape": phantom.shape, "units": UNITS}
    if path.name.endswith((".nii", ".nii.gz")):
        side = _settings_beside(path)
        settings["volumes"] = [name for name, values in volumes.items() for _ in range(len(values))]
        content = _nifti(np.concatenate(list(volumes.values())), phantom.size, path)
        with atomic_file(side, force=force) as beside, atomic_file(path, force=force) as main:
            main.write_bytes(content)
            beside.write_bytes(_json(settings))
        return
    files = {f"{name}.nii.gz": values for name, values in volumes.items()}
    _require_own(path, {*files, _SETTINGS})
    with atomic_folder(path, force=force) as folder:
        for name, values in files.items():
            (folder / name).write_bytes(_nifti(values, phantom.size, folder / name))
        (folder / _SETTINGS).write_bytes(_json(settings))


def load(path: str | Path) -> Phantom:
    """Read a phantom from a folder of maps, or from one 4D file.

    Parameters
    ----------
    path
        A folder with the files that `save` names, plain or gzipped, or a 4D file: with the JSON file beside it, or else
        with volumes in the order proton density, T1, T2, T2', diffusion, B0, real and imaginary part of B1+ (three at
        least). Proton density, T1 and T2 must be there; otherwise T2' is infinite, diffusion and B0 are 0, B1+ and the
        coil are 1. SI units. Axes are flipped and permuted to the nearest RAS; position and remaining rotation are
        dropped, so that voxel ``n // 2`` lies at the origin.

    Raises
    ------
    FileError
        If something is missing, damaged, of differing grids, negative, not finite, or seems to be in milliseconds.
    """
    path = Path(path)
    if not path.exists():
        raise FileError(path, "does not exist", "give a folder of maps or a 4D NIfTI file")
    maps, size, settings = _read_folder(path) if path.is_dir() else _read_single(path)
    for name in ("proton_density", "t1", "t2"):
        if name not in maps:
            raise FileError(path, f"there is no {name}", f"add it, in {UNITS[name] or 'relative units'}")
    grid = maps["proton_density"].shape[1:]
    for name, values in maps.items():
        if values.shape[1:] != grid:
            raise FileError(
                path, f"{name} has {values.shape[1:]} voxels, proton_density {grid}", "resample one of them"
            )
        if name in UNITS and len(values) != 1:
            raise FileError(path, f"{name} has {len(values)} volumes", "give one")
    _check_values(path, {name: values[0] for name, values in maps.items() if name in UNITS})
    shape = settings.get("voxel_shape", "box")
    if shape not in VOXEL_SHAPES:
        raise FileError(path, f"voxel_shape is {shape!r}", f"give one of {', '.join(VOXEL_SHAPES)}")
    tissue = {
        name: torch.from_numpy(maps[name][0] if name in maps else np.full(grid, _DEFAULTS[name])) for name in UNITS
    }
    fields = {name: _complex(path, maps, name, grid) for name in _COMPLEX}
    return Phantom(**tissue, **fields, size=size, shape=shape)


def _volumes(phantom: Phantom) -> dict[str, np.ndarray]:
    """Return every map by its file's name, float32 ``[volume, z, y, x]``."""
    volumes = {name: getattr(phantom, name)[None] for name in UNITS}
    for name in _COMPLEX:
        volumes |= {f"{name}_real": getattr(phantom, name).real, f"{name}_imag": getattr(phantom, name).imag}
    return {name: values.detach().cpu().numpy().astype(np.float32) for name, values in volumes.items()}


def _nifti(values: np.ndarray, size: tuple[float, float, float], path: Path) -> bytes:
    """Return the content of the NIfTI file `path` with `values`, ``[volume, z, y, x]``."""
    affine = np.diag([*(1e3 * edge for edge in size), 1.0])
    affine[:3, 3] = [-(n // 2) * 1e3 * edge for n, edge in zip(values.shape[:0:-1], size, strict=True)]
    image = nibabel.Nifti1Image((values[0] if len(values) == 1 else values).T, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    content = image.to_bytes()
    return gzip.compress(content, 6, mtime=0) if path.name.endswith(".gz") else content


def _json(settings: dict[str, Any]) -> bytes:
    return (json.dumps(settings, indent=2) + "\n").encode()


def _settings_beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _require_own(path: Path, names: set[str]) -> None:
    """Raise if a folder holds anything but a phantom's files, which `load` would take for part of it."""
    present = {file.name for file in path.iterdir()} if path.is_dir() else set()
    if present - names:
        raise OutputExistsError(f"{path} holds {min(present - names)}, not a phantom's file; choose another folder")


def _read_folder(path: Path) -> tuple[dict[str, np.ndarray], tuple[float, float, float], dict[str, Any]]:
    """Return the maps, ``[volume, z, y, x]``, voxel edges [m] and settings of a folder."""
    names = [*UNITS, *(f"{name}_{part}" for name in _COMPLEX for part in ("real", "imag"))]
    maps, sizes = {}, {}
    for name in names:
        found = [path / f"{name}{end}" for end in (".nii.gz", ".nii") if (path / f"{name}{end}").is_file()]
        if len(found) > 1:
            raise FileError(path, f"there are both {found[0].name} and {found[1].name}", "remove one")
        if found:
            maps[name], sizes[name] = _read(found[0])
    if "proton_density" not in maps:
        raise FileError(path, "there is no proton_density.nii.gz", f"name the maps {', '.join(UNITS)}")
    size = sizes["proton_density"]
    for name, other in sizes.items():
        if not np.allclose(other, size, rtol=1e-4):
            raise FileError(path, f"voxels of {name} are {other} m, of proton_density {size} m", "resample one of them")
    return maps, size, _settings(path / _SETTINGS)


def _read_single(path: Path) -> tuple[dict[str, np.ndarray], tuple[float, float, float], dict[str, Any]]:
    """Return the maps, ``[volume, z, y, x]``, voxel edges [m] and settings of a 4D file."""
    values, size = _read(path)
    settings = _settings(_settings_beside(path))
    names = settings.get("volumes", [*UNITS, "b1_real", "b1_imag"][: len(values)])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileError(_settings_beside(path), '"volumes" is not a list of names', "name each volume of the file")
    if len(names) != len(values) or len(values) < 3:
        remedy = "give proton density, T1 and T2 at least, and name all volumes in the JSON file beside it"
        raise FileError(path, f"it has {len(values)} volumes, but {len(names)} names", remedy)
    known = {*UNITS, *(f"{name}_{part}" for name in _COMPLEX for part in ("real", "imag"))}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise FileError(
            _settings_beside(path), f"volume {unknown[0]!r} is not known", f"use {', '.join(sorted(known))}"
        )
    maps = {name: np.stack([v for v, n in zip(values, names, strict=True) if n == name]) for name in names}
    return maps, size, settings


def _read(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Return the values of a NIfTI file in RAS order, float64 ``[volume, z, y, x]``, and the voxel's edges [m]."""
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        if image.get_data_dtype().kind not in "iuf":
            raise ValueError(f"values of type {image.get_data_dtype()} where real numbers are needed")
        values = np.asarray(image.dataobj, dtype=np.float64)
        unit = _METRES[image.header.get_xyzt_units()[0]]
    except _DAMAGE as error:
        raise FileError(path, f"cannot be read as NIfTI ({error})", "give an intact .nii or .nii.gz file") from error
    if values.ndim not in (3, 4) or 0 in values.shape:
        raise FileError(path, f"the array is {values.shape}", "give three dimensions, or four with the volume last")
    x, y, z = (unit * float(edge) for edge in image.header.get_zooms()[:3])
    if not all(0 < edge < 1 and math.isfinite(edge) for edge in (x, y, z)):
        raise FileError(path, f"voxels are {x, y, z} m", "set the voxel sizes in mm in the header")
    return np.ascontiguousarray(values.T if values.ndim == 4 else values.T[None]), (x, y, z)


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FileError(path, f"cannot be read as JSON ({error})", "mend or remove it") from error
    if not isinstance(settings, dict):
        raise FileError(path, "it is not a JSON object", "mend or remove it")
    return settings


def _check_values(path: Path, maps: dict[str, np.ndarray]) -> None:
    """Raise on values that cannot be those of a phantom in SI units."""
    filled = maps["proton_density"] > 0
    if not filled.any():
        raise FileError(path, "proton_density is nowhere above 0", "give relative densities")
    for name, values in maps.items():
        bad = np.isnan(values) if name == "t2_prime" else ~np.isfinite(values)
        if bad.any():
            raise FileError(path, f"{name} has {int(bad.sum())} voxels that are not finite", "set them to 0")
        if name != "b0" and (values < 0).any():
            raise FileError(path, f"{name} is negative in {int((values < 0).sum())} voxels", "set them to 0")
        if name in ("t1", "t2", "t2_prime"):
            zero = int((values[filled] == 0).sum())
            if zero:
                raise FileError(path, f"{name} is 0 in {zero} voxels of proton density above 0", "fill them, or mask")
        if name in ("t1", "t2") and np.median(values[filled]) > _TOO_LONG:
            typical = np.median(values[filled])
            raise FileError(path, f"{name} is typically {typical:.4g} s", "give seconds: it seems to be in ms")


def _complex(path: Path, maps: dict[str, np.ndarray], name: str, grid: tuple[int, ...]) -> Tensor:
    """Return the complex maps of `name`, ``[channel, z, y, x]``; ones where there are none."""
    real, imag = maps.get(f"{name}_real"), maps.get(f"{name}_imag")
    if real is None and imag is None:
        return torch.ones((1, *grid), dtype=torch.complex128)
    if real is None or (imag is not None and imag.shape != real.shape):
        raise FileError(path, f"{name}_real and {name}_imag do not match", "give both with as many volumes")
    values = real if imag is None else real + 1j * imag
    if not np.isfinite(values).all():
        raise FileError(path, f"{name} has values that are not finite", "set them to 0 or 1")
    return torch.from_numpy(values.astype(np.complex128))
