"""Images of a MATLAB file, as CEST-MRF data are passed on."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from pulsetwin.errors import FileError
from pulsetwin.volume import Images

_DAMAGE = (OSError, ValueError, TypeError, NotImplementedError, IndexError, KeyError, MatReadError, zlib.error)
_REMEDY = "give one array [measurement, y, x] or [measurement, z, y, x], or a NIfTI"


def read_mat(path: str | Path) -> Images:
    """Return the images ``[measurement, y, x]`` or ``[measurement, z, y, x]`` of a file before version 7.3.

    Voxels are taken as 1 mm large, about their centre.

    Raises
    ------
    FileError
        If the file cannot be read, or holds not one array of these dimensions.
    """
    try:
        held = scipy.io.loadmat(path)
    except _DAMAGE as error:
        raise FileError(path, f"cannot be read as a MATLAB file ({error})", _REMEDY) from None
    arrays = {
        name: value for name, value in held.items()
        if isinstance(value, np.ndarray) and value.ndim in (3, 4) and value.dtype.kind in "iufc"
    }  # fmt: skip
    if len(arrays) != 1:
        raise FileError(path, f"holds {len(arrays)} arrays of images ({', '.join(arrays)})", _REMEDY)
    (values,) = arrays.values()
    values = values[:, None] if values.ndim == 3 else values
    values = values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
    affine = np.eye(4)
    affine[:3, 3] = [-(n // 2) for n in values.shape[:0:-1]]
    said = ("The images state neither voxel size nor place: voxels are taken as 1 mm large, about their centre.",)
    return Images(values, affine, ({},) * len(values), warnings=said)
