"""Which lines and partitions of a Cartesian scan are left out, and how those that calibrate the coils are called."""

from __future__ import annotations

from typing import Any

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.orderings import centred_block, partial_fourier_mask, regular_mask


def check_sampling(protocol: Any) -> None:
    """Check the settings `acceleration`, `caipi_shift`, `calibration` and `partial_fourier` against the matrix.

    Raises
    ------
    ProtocolError
        If nothing could be left out along z, or the settings do not fit together.
    """
    p = protocol
    if p.matrix[2] == 1 and (p.acceleration[1] > 1 or p.partial_fourier[1] < 1):
        raise ProtocolError(
            f"acceleration = {p.acceleration}, partial_fourier = {p.partial_fourier} with one partition: give 1 along z"
        )
    sampled(p)


def sampled(protocol: Any) -> Array:
    """Return the mask of what is sampled, bool ``[partition, line]``."""
    p = protocol
    shape = p.matrix[:0:-1]
    block = p.calibration, p.calibration
    regular = regular_mask(shape, p.acceleration[::-1], caipi_shift=p.caipi_shift, calibration=block)
    return regular & partial_fourier_mask(shape, p.partial_fourier[::-1])


def calibration_labels(protocol: Any) -> dict[tuple[int, int], dict[str, int]]:
    """Return the labels REF and IMA by line and partition; none where the scan has no calibration lines.

    REF marks lines that calibrate the coils, IMA those of them that belong to the image: as Siemens' reconstruction
    expects it, calibration lines between those of the regular pattern have REF only.
    """
    p = protocol
    shape = p.matrix[:0:-1]
    if not p.calibration:
        return {}
    block = centred_block(shape, (p.calibration, p.calibration))
    imaged = block & regular_mask(shape, p.acceleration[::-1], caipi_shift=p.caipi_shift)
    return {
        (line, partition): {"REF": int(block[partition, line]), "IMA": int(imaged[partition, line])}
        for partition in range(shape[0])
        for line in range(shape[1])
    }


def sampling_definitions(protocol: Any) -> dict[str, Any]:
    """Return what a file says of lines that are left out; nothing if none are."""
    p = protocol
    if sampled(p).all():
        return {}
    return {
        "AccelerationFactorPE": p.acceleration[0],
        "AccelerationFactor3D": p.acceleration[1],
        "kSpaceCenterLine": p.matrix[1] // 2,
    }
