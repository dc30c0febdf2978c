"""Maps of Z-spectra: MTRasym, the depths of the pools' lines, and the Lorentzian difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_offsets import m0_images, offsets, split
from pulsetwin.recon.lorentzians import LINES, fit_lines, left_by, lorentzian_difference
from pulsetwin.recon.voxels import Voxels, voxels, water_shift
from pulsetwin.recon.z_spectrum import asymmetry, shifted
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.volume import Images, Maps, Volume

_SEEN = ("amide", "noe")  # pools whose Lorentzian difference is mapped


def map_z_spectrum(
    images: Images,
    seq: SeqFile,
    b0: Volume | None = None,
    *,
    pools: Sequence[str] = tuple(LINES),
    span: tuple[float, float] = (3.5, 3.5),
    progress: Progress = silent,
) -> Maps:
    """Return ``MTRasym``, the depth of each pool's line by its name, ``shift`` [ppm], ``LD_amide`` and ``LD_noe``.

    Depths and the shift, that of water's line from the scanner's frequency, come with deviations ``_std`` for noise as
    large as what the fit leaves; ``residual`` is the root mean square of that. Lorentzian differences are those at the
    centres of the pools in `LINES`, where the `.seq` has offsets enough.

    Parameters
    ----------
    images
        In order of play, M0 included.
    seq
        The `.seq` that was played; its definitions ``offsets_ppm`` and ``M0_offset`` count.
    b0
        Shift of water from the scanner's frequency [ppm], on the grid of the images, as `map_wasabi` finds it. Without
        it water is where its line is found, about the least Z within 1 ppm.
    pools
        Which lines are fitted; water is the first.
    span
        Between which offsets MTRasym is averaged [ppm].
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ProtocolError
        If M0 is missing, offsets are not known or end before `span`, `b0` is not in ppm or elsewhere, or a pool is
        unknown.
    ShapeError
        If there are not as many images as offsets, or too few to tell the lines and their deviations.
    """
    ppm = offsets(seq)
    m0, others = split(len(images.values), ppm, m0_images(ppm, seq))
    if not len(m0):
        raise ProtocolError("Z-spectra are relative to M0, which is not among the images: give all of the scan, and "
                            "the definition M0_offset in its .seq")  # fmt: skip
    found, ppm = voxels(images, int(m0[0])), ppm[others]
    level = found.data[:, m0].mean(1)
    z = found.data[:, others] / np.where(level > 0, level, np.inf)[:, None]
    shift, known, said = _shift(found, z, ppm, b0)
    away = ppm - shift[:, None]
    fitted = fit_lines(z, away, pools, progress=progress)
    water = shift + fitted.values[2]
    centre = water if b0 is None else shift
    maps = {"MTRasym": (asymmetry(z, ppm, centre, span), "")}
    for number, pool in enumerate(pools):
        maps[pool] = fitted.values[3 * number], ""
        maps[f"{pool}_std"] = fitted.deviation[3 * number], ""
    maps |= {"shift": (water, "ppm"), "shift_std": (fitted.deviation[2], "ppm")}
    maps["residual"] = np.sqrt(fitted.misfit / z.shape[1]), ""
    try:
        maps |= _differences(z, ppm, centre, progress)
    except ProtocolError as error:
        said.append(f"{error}.")
    valid = known & (level > 0) & np.isfinite([values for values, _ in maps.values()]).all(0)
    if not valid.all():
        said.append(f"{1 - valid.mean():.1%} of the voxels have no B0, no M0, or a shift beyond the offsets.")
    return Maps(found.volumes(maps, valid), tuple(said))


def _shift(
    found: Voxels, z: np.ndarray, ppm: np.ndarray, b0: Volume | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return where water is expected [ppm] and where that is known, ``[voxel]``, and what is to be said of it."""
    if b0 is not None:
        shift, known = water_shift(found, b0)
        return np.where(known, shift, 0.0), known, []
    near = np.nonzero(np.abs(ppm) <= 1)[0]
    if not len(near):
        raise ProtocolError(
            "Z-spectra without an offset within 1 ppm do not show where water is: give --b0 of a WASABI"
        )
    said = "No B0 map: water is where its line is found, within 1 ppm. A WASABI tells it better."
    return ppm[near[np.argmin(z[:, near], 1)]], np.ones(len(z), bool), [said]


def _differences(
    z: np.ndarray, ppm: np.ndarray, shift: np.ndarray, progress: Progress
) -> dict[str, tuple[np.ndarray, str]]:
    """Return the Lorentzian differences of the pools that show as peaks."""
    _, lines = lorentzian_difference(z, ppm - shift[:, None], progress=progress)
    centres = np.array([LINES[pool].centre[0] for pool in _SEEN])
    left = left_by(lines, np.repeat(centres[None], len(z), 0)) - shifted(z, ppm, shift, centres)
    return {f"LD_{pool}": (values, "") for pool, values in zip(_SEEN, left.T, strict=True)}
