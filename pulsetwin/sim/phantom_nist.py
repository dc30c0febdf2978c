"""The ISMRM/NIST system phantom: plates of reference spheres in water."""

from __future__ import annotations

import math

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_shapes import Ellipsoid, painted
from pulsetwin.sim.phantom_tissue import WATER, Tissue, nearest_field

# T1 and T2 [ms] of spheres 14 to 1, by field strength [T].
_NICKEL = {
    1.5: (
        (22.859, 32.45, 46.32, 65.4, 92.7, 132.7, 184.6, 260.1, 367.9, 514.1, 730.8, 1012, 1489, 2033),
        (20.2, 28.7, 41, 57.7, 81.9, 117.1, 161.9, 227.7, 321.2, 446.3, 628.5, 859.3, 1244, 1669),
    ),
    3.0: (
        (21.72, 30.84, 44.53, 62.70, 89.00, 125.9, 175.3, 247.1, 351.5, 496.7, 706.0, 984.1, 1454, 1989),
        (15.83, 22.38, 31.86, 45.70, 64.30, 90.30, 127.3, 180.8, 255.5, 359.6, 510.1, 717.9, 1077, 1465),
    ),
}
_MANGANESE = {
    1.5: (
        (83.33, 106.4, 160.2, 194.9, 292.9, 413.4, 550.2, 752.2, 1030, 1237, 1539, 1870, 2183, 2376),
        (8.15, 10.47, 15.99, 19.76, 30.62, 45.28, 64.84, 91.76, 140.6, 184.9, 267.0, 416.5, 594.3, 939.4),
    ),
    3.0: (
        (90.90, 126.9, 176.9, 244.2, 336.5, 458.4, 608.6, 801.7, 1044, 1332, 1604, 1907, 2173, 2480),
        (5.59, 7.91, 11.24, 15.81, 22.56, 31.97, 46.42, 64.07, 96.89, 133.27, 190.94, 278.1, 403.5, 581.3),
    ),
}
_PLATES = {"t1": 0.0565, "t2": 0.0165}  # height of the plates over the phantom's centre [m]
_RING, _SQUARE = 0.050, 0.020  # radius of the ring of 10 and half the edge of the square of 4 [m]
_SPHERE = 0.0075  # inner radius [m]
_SHELL, _GRID, _FIDUCIAL = 0.100, 0.040, 0.005  # radius of the phantom, spacing and radius of the fiducials [m]
_FIDUCIAL_FILL = Tissue(1.0, 0.100, 0.050, diffusion=2.0e-9)


def nist_reference(plate: str = "t1", field_strength: float = 3.0) -> tuple[tuple[float, float], ...]:
    """Return T1 and T2 [s] of spheres 1 to 14 of the ``t1`` (NiCl2) or ``t2`` (MnCl2) plate at 1.5 or 3 T and 20 C.

    Values of version 1 (serial numbers up to 41), measured by NMR: Stupic et al. 2021 (doi:10.1002/mrm.28779); those
    of the T1 plate at 1.5 T are from NIST's PhantomViewer. Version 2 differs in the T1 plate by a few percent.
    """
    if plate not in _PLATES:
        raise ProtocolError(f"nist: plate {plate!r} is none of {', '.join(_PLATES)}")
    table = {"t1": _NICKEL, "t2": _MANGANESE}[plate]
    t1, t2 = table[nearest_field(field_strength, tuple(table))]
    return tuple((1e-3 * a, 1e-3 * b) for a, b in zip(t1[::-1], t2[::-1], strict=True))


def nist_positions() -> tuple[tuple[float, float], ...]:
    """Return the centres of spheres 1 to 14 in the plane of a plate, x and y [m].

    Spheres 1 to 10 lie on a ring of 50 mm radius, the first at +y and the others following clockwise as seen in a
    figure with x to the right, towards +x; spheres 11 to 14 at the corners of a square of 40 mm, from -x +y, clockwise.
    """
    ring = [(_RING * math.sin(math.pi * n / 5), _RING * math.cos(math.pi * n / 5)) for n in range(10)]
    square = [(-_SQUARE, _SQUARE), (_SQUARE, _SQUARE), (_SQUARE, -_SQUARE), (-_SQUARE, -_SQUARE)]
    return (*ring, *square)


def nist(
    matrix: tuple[int, int, int] = (1, 128, 128),
    fov: tuple[float, float, float] = (0.22, 0.22, 0.005),
    field_strength: float = 3.0,
    *,
    plate: str = "t1",
    fields: bool = True,
) -> Phantom:
    """Return the ISMRM/NIST system phantom with its T1 and T2 plates and fiducial spheres, in water.

    The plates lie in x and y, as in a scan of the phantom in the orientation that images them; the chosen plate's
    centre is the origin, the other one 40 mm from it along z (a thick enough field of view holds both). Layout and
    fillings as in NIST's PhantomViewer, with its names: contrast spheres on a ring of 50 mm radius and a square of
    40 mm, 57 fiducials (T1 100 ms, T2 50 ms) every 40 mm, water of T1 3.33 s and T2 2 s in a shell of 200 mm. Diffusion
    is that of water at 20 C; T2' is infinite.

    Simplified: the contrast spheres' inner diameter is taken as 15 mm, their walls (20 mm outside) hold water; the
    proton density plate, the resolution and slice profile insets, and the plates' plastic are left out.

    Parameters
    ----------
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m].
    field_strength
        1.5 or 3 [T].
    plate
        ``t1`` (NiCl2) or ``t2`` (MnCl2): which plate lies at the origin.
    fields
        Whether B0 and B1+ vary smoothly; otherwise 0 Hz and 1.

    Raises
    ------
    ProtocolError
        For another field strength or plate.
    """
    nist_reference(plate, field_strength)
    origin = _PLATES[plate]
    shapes = [Ellipsoid((0.0, 0.0, -origin), (_SHELL, _SHELL, _SHELL), WATER), *_fiducials(-origin)]
    for name, height in _PLATES.items():
        for (x, y), (t1, t2) in zip(nist_positions(), nist_reference(name, field_strength), strict=True):
            tissue = Tissue(1.0, t1, t2, diffusion=2.0e-9)
            shapes.append(Ellipsoid((x, y, height - origin), (_SPHERE, _SPHERE, _SPHERE), tissue))
    return painted(matrix, fov, shapes, field_strength=field_strength if fields else None)


def _fiducials(height: float) -> list[Ellipsoid]:
    """Return the spheres of the 40 mm grid that fit into the shell, `height` [m] along z from the origin."""
    steps = range(-2, 3)
    places = [(i, j, k) for i in steps for j in steps for k in steps]
    inside = [place for place in places if _GRID * math.hypot(*place) < _SHELL - _FIDUCIAL - 2e-3]
    axes = (_FIDUCIAL, _FIDUCIAL, _FIDUCIAL)
    return [Ellipsoid((_GRID * i, _GRID * j, _GRID * k + height), axes, _FIDUCIAL_FILL) for i, j, k in inside]
