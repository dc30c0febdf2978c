"""Write raw data as ISMRMRD/MRD (HDF5), through the optional package `ismrmrd`.

What MRD has no place for goes into user parameters of the header: the signature of the `.seq` that was played, the
unit of trajectories, and that the first counter for users holds the label ACQ. Readouts that image nothing and have no
other task are marked as dummy scans.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import MissingExtraError, ProtocolError
from pulsetwin.rawdata import Geometry, RawData, Readouts
from pulsetwin.recon.mrd import ACQ_IN, CYCLES, LABELS, LPS_TO_RAS, SIGNATURE, TICK, UNIT, USER

_FLAGS = {
    "noise": "ACQ_IS_NOISE_MEASUREMENT",
    "navigator": "ACQ_IS_NAVIGATION_DATA",
    "phase_correction": "ACQ_IS_PHASECORR_DATA",
    "reversed": "ACQ_IS_REVERSE",
}
_NOISE_LENGTH = 4096
_MOST = 65535


def write(raw: RawData, path: str | Path, *, force: bool = False) -> None:
    """Write a scan as MRD, with its trajectory in cycles per field of view.

    Parameters
    ----------
    raw
        The scan; samples may be lazily read.
    path
        The file to appear, whole or not at all.
    force
        Whether to replace an existing file.

    Raises
    ------
    MissingExtraError
        If `ismrmrd` is not installed.
    ProtocolError
        If there are no readouts, too many samples in one, or labels that MRD has no counter for or that are not
        between 0 and 65535.
    OutputExistsError
        If `path` exists and `force` is false.
    """
    package = _package()
    _check(raw)
    with atomic_file(path, force=force) as temporary, package.Dataset(str(temporary), mode="w") as data:
        data.write_xml_header(_header(raw, package))
        number = 0
        for start in range(0, 0 if raw.noise is None else raw.noise.shape[1], _NOISE_LENGTH):
            part = np.ascontiguousarray(raw.noise[:, start : start + _NOISE_LENGTH], np.complex64)
            made = _placed(package.Acquisition.from_array(part), raw.geometry, 0, number, raw.noise_dwell)
            made.set_flag(package.ACQ_IS_NOISE_MEASUREMENT)
            data.append_acquisition(made)
            number += 1
        group_of = np.concatenate([np.full(len(group), k) for k, group in enumerate(raw.groups)])
        row_of = np.concatenate([np.arange(len(group)) for group in raw.groups])
        for place in np.argsort(np.concatenate([group.start_time for group in raw.groups]), kind="stable"):
            data.append_acquisition(_readout(package, raw, raw.groups[group_of[place]], int(row_of[place]), number))
            number += 1


def _check(raw: RawData) -> None:
    """Raise if the format cannot hold something."""
    if not raw.groups or not sum(len(group) for group in raw.groups):
        raise ProtocolError("there are no readouts to write: give at least one")
    if max(group.samples.shape[2] for group in raw.groups) > _MOST:
        raise ProtocolError(f"a readout has more than {_MOST} samples, the most that MRD holds: split the ADC")
    for name, values in ((name, values) for group in raw.groups for name, values in group.labels.items()):
        if name not in (*LABELS, "ACQ"):
            raise ProtocolError(f"label {name} cannot be written: MRD has counters for {', '.join(LABELS)}, ACQ only")
        if len(values) and not 0 <= values.min() <= values.max() <= _MOST:
            reach = f"{values.min()} to {values.max()}"
            raise ProtocolError(f"label {name} cannot be written: it is {reach}, MRD has counters from 0 to {_MOST}")


def _readout(package: ModuleType, raw: RawData, group: Readouts, row: int, number: int) -> Any:
    """Return one acquisition with its counters, flags and positions."""
    samples = np.ascontiguousarray(group.samples[row], np.complex64)
    route = None
    if group.trajectory is not None:
        path = group.trajectory
        positions = path.shapes[path.shape_index[row]] + path.offset[row]
        route = np.ascontiguousarray(positions * raw.geometry.fov, np.float32)
    made = package.Acquisition.from_array(samples, route, center_sample=samples.shape[1] // 2)
    slice_number = int(group.label("SLC")[row])
    _placed(made, raw.geometry, slice_number, number, float(group.dwell[row]))
    made.acquisition_time_stamp = round(group.start_time[row] / TICK)
    for name, field in LABELS.items():
        setattr(made.idx, field, int(group.label(name)[row]))
    made.idx.user[0] = int(group.label("ACQ")[row])
    for name, flag in _FLAGS.items():
        if group.flag(name)[row]:
            made.set_flag(getattr(package, flag))
    if group.flag("reference")[row]:
        both = group.flag("imaging")[row]
        flag = "ACQ_IS_PARALLEL_CALIBRATION" + ("_AND_IMAGING" if both else "")
        made.set_flag(getattr(package, flag))
    elif not any(group.flag(name)[row] for name in ("imaging", "noise", "navigator", "phase_correction")):
        made.set_flag(package.ACQ_IS_DUMMYSCAN_DATA)
    return made


def _placed(made: Any, geometry: Geometry, slice_number: int, number: int, dwell: float) -> Any:
    axes = LPS_TO_RAS @ geometry.rotation
    for name, column in zip(("read_dir", "phase_dir", "slice_dir"), axes.T, strict=True):
        getattr(made, name)[:] = tuple(column)
    centre = geometry.centers[min(slice_number, len(geometry.centers) - 1)]
    made.position[:] = tuple(1e3 * LPS_TO_RAS @ centre)
    made.sample_time_us = 1e6 * dwell
    made.scan_counter = number + 1
    return made


def _header(raw: RawData, package: ModuleType) -> str:
    xsd = package.xsd
    size = xsd.fieldOfViewMm(**dict(zip("xyz", (1e3 * length for length in raw.geometry.fov), strict=True)))
    matrix = xsd.matrixSizeType(**dict(zip("xyz", raw.geometry.matrix, strict=True)))
    space = xsd.encodingSpaceType(matrixSize=matrix, fieldOfView_mm=size)
    encoding = xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(),
        trajectory=xsd.trajectoryType.OTHER,
    )
    field = float(raw.header.get("field_strength") or 0)
    system = xsd.acquisitionSystemInformationType(
        systemVendor=str(raw.header.get("vendor", "")), systemFieldStrength_T=field, receiverChannels=raw.coils
    )
    frequency = int(raw.header.get("frequency") or 42.576e6 * field)
    header = xsd.ismrmrdHeader(
        acquisitionSystemInformation=system,
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=frequency),
        encoding=[encoding],
    )
    if raw.geometry.patient_position:
        position = xsd.patientPositionType(raw.geometry.patient_position)
        header.measurementInformation = xsd.measurementInformationType(patientPosition=position)
    texts = {ACQ_IN: USER, UNIT: CYCLES, SIGNATURE: str(raw.header.get("signature") or "")}
    header.userParameters = xsd.userParametersType(
        userParameterString=[xsd.userParameterStringType(name=name, value=text) for name, text in texts.items() if text]
    )
    return header.toXML("utf-8")


def _package() -> ModuleType:
    try:
        import ismrmrd
        import ismrmrd.xsd
    except ImportError as error:
        raise MissingExtraError("writing MRD needs the package ismrmrd: pip install 'pulsetwin[mrd]'") from error
    return ismrmrd
