"""RF shapes in JCAMP-DX: factors that Bruker's own files state, and what is written is what is read."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import erf

from pulsetwin.errors import FileError, OutputExistsError, ProtocolError
from pulsetwin.export.jcamp_shape import read_shape, rf_shape, write_shape

COUNT = 1000
WHEN = datetime(2026, 11, 21, 12, 0, 0)
MIDDLE = (np.arange(COUNT) + 0.5) / COUNT


def scaled(wave, flip=np.pi / 2):
    """Return a wave as rotations that add up to a flip angle."""
    return np.asarray(wave) * flip / np.sum(wave)


def eburp2():
    """E-BURP-2 by its Fourier coefficients, doi:10.1016/0022-2364(91)90034-Q."""
    cosines = [0.91, 0.29, -1.28, -0.05, 0.04, 0.02, 0.06, 0.00, -0.02, 0.00]
    sines = [-0.16, -1.82, 0.18, 0.42, 0.07, 0.07, -0.01, -0.04, 0.00, 0.00]
    angle = 2 * np.pi * np.outer(np.arange(1, 11), MIDDLE)
    return 0.26 + np.cos(angle).T @ cosines + np.sin(angle).T @ sines


def hyperbolic_secant(beta=5.3, mu=4.9, peak=1000.0, duration=8e-3):
    """Return the rotations of an adiabatic inversion, whose bandwidth times duration is 2 mu beta / pi."""
    size = 1 / np.cosh(beta * (2 * MIDDLE - 1))
    return 2 * np.pi * peak * duration / COUNT * size * np.exp(1j * mu * np.log(size))


@pytest.mark.parametrize(
    ("wave", "integral"),
    [
        (np.ones(COUNT), 1.0),
        (eburp2(), 6.102960e-02),  # as a file of TopSpin says
        (np.sin(np.pi * MIDDLE), 2 / np.pi),
        (np.exp(-np.log(100) * (2 * MIDDLE - 1) ** 2), np.sqrt(np.pi / np.log(100)) / 2 * erf(np.sqrt(np.log(100)))),
    ],
    ids=["rectangle", "eburp2", "half sine", "gauss"],
)
def test_integral_factors(wave, integral):
    assert rf_shape(scaled(wave)).integral_factor == pytest.approx(integral, rel=5e-6)


def test_the_integral_factor_gives_the_power():
    """A shape of factor f and 1 ms needs 250 Hz / f for 90 degrees: the rectangle's rule, by the samples' sum."""
    rotation = scaled(eburp2())
    b1 = np.abs(rotation).max() / (2 * np.pi * 1e-3 / COUNT)
    assert b1 == pytest.approx(250 / rf_shape(rotation).integral_factor)


def test_bandwidth_of_small_rectangles_is_that_of_the_sinc():
    width = 2 * brentq(lambda x: np.sinc(x) - 0.5, 0.3, 0.9)
    assert rf_shape(scaled(np.ones(COUNT), 1e-3)).bandwidth_factor == pytest.approx(width, rel=1e-4)


def test_bandwidth_of_a_rectangle_of_90_degrees_is_that_of_rabi():
    def transverse(x):
        """Return |Mxy| after a rectangle of 90 degrees, x its offset times its duration."""
        turn = np.hypot(np.pi / 2, 2 * np.pi * x)
        tilt = (np.pi / 2) / turn
        along = tilt * np.sqrt(1 - tilt**2) * (1 - np.cos(turn))
        return np.hypot(along, tilt * np.sin(turn))

    width = 2 * brentq(lambda x: transverse(x) - 0.5, 0.3, 0.9)
    assert rf_shape(scaled(np.ones(COUNT))).bandwidth_factor == pytest.approx(width, rel=1e-4)


def test_bandwidth_of_the_hyperbolic_secant_is_its_sweep():
    shape = rf_shape(hyperbolic_secant(), "inversion", np.pi)
    assert shape.bandwidth_factor == pytest.approx(2 * 4.9 * 5.3 / np.pi, rel=5e-3)
    assert (shape.flip_angle, shape.rephasing) == (np.pi, 0.5)


def test_rephasing_of_asymmetric_pulses():
    late = np.zeros(COUNT)
    late[749:751] = 1
    assert rf_shape(scaled(late)).rephasing == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("rotation", "mode", "name"),
    [
        (scaled(np.sinc(6 * MIDDLE - 3)), "excitation", "a.exc"),
        (hyperbolic_secant(), "inversion", "a.inv"),
        (scaled(np.sinc(6 * MIDDLE - 3) * np.exp(1j), np.pi), "refocusing", "a.rfc"),
    ],
)
def test_what_is_written_is_what_is_read(tmp_path, rotation, mode, name):
    shape = rf_shape(rotation, mode)
    write_shape(shape, tmp_path / name, when=WHEN)
    read = read_shape(tmp_path / name)
    np.testing.assert_allclose(read.envelope, rotation / np.abs(rotation).max(), rtol=0, atol=1e-6)
    assert read.mode == mode
    for field in ("flip_angle", "bandwidth_factor", "integral_factor", "rephasing"):
        assert getattr(read, field) == pytest.approx(getattr(shape, field), rel=1e-6, abs=1e-9)
    with pytest.raises(OutputExistsError):
        write_shape(shape, tmp_path / name)


def test_the_text_is_that_of_bruker(tmp_path):
    write_shape(rf_shape(scaled([1.0, 2.0, -1.0])), tmp_path / "three.exc", when=WHEN)
    lines = (tmp_path / "three.exc").read_bytes().decode("ascii").split("\n")
    assert lines[:2] == ["##TITLE= three", "##JCAMP-DX= 5.00 Bruker JCAMP library"]
    assert "##DATE= 2026/11/21" in lines
    assert lines[-7:] == [
        "##NPOINTS= 3", "##XYPOINTS= (XY..XY)", "5.000000e+01, 0.000000e+00", "1.000000e+02, 0.000000e+00",
        "5.000000e+01, 1.800000e+02", "##END=", "",
    ]  # fmt: skip


FOREIGN = """##TITLE= /opt/PV/exp/stan/nmr/lists/wave/a
##JCAMP-DX= 5.00 BRUKER JCAMP library
##DATA TYPE= Shape Data
##ORIGIN= Bruker BioSpin GmbH
##MINX= 0.000000E00
$$ a comment
##$SHAPE_EXMODE= CompositeAdiabatic
##$SHAPE_TOTROT= 1.800000E02
##$SHAPE_TYPE= Refocussing
##$SHAPE_USER_DEF=
##$SHAPE_REPHFAC=
##$SHAPE_BWFAC= 8.099400E01
##$SHAPE_INTEGFAC = 2.558317E-02
##NPOINTS= 2
##XYPOINTS= (XY..XY)
1.000000E02, 9.000000E01
5.000000E01  1.800000E02
##END=
"""


def test_headers_of_other_programs_are_read(tmp_path):
    (tmp_path / "a").write_text(FOREIGN, newline="\r\n")
    read = read_shape(tmp_path / "a")
    np.testing.assert_allclose(read.envelope, [1j, -0.5], atol=1e-12)
    assert (read.mode, read.rephasing) == ("refocusing", 0)
    assert (read.bandwidth_factor, read.integral_factor) == (80.994, 2.558317e-2)
    assert read.flip_angle == pytest.approx(np.pi)


@pytest.mark.parametrize(
    "text",
    ["", "[VERSION]", FOREIGN.replace("NPOINTS= 2", "NPOINTS= 3"), FOREIGN.replace("5.000000E01  ", "x ")],
)
def test_damaged_shapes_are_told(tmp_path, text):
    (tmp_path / "a").write_text(text)
    with pytest.raises(FileError, match="no RF shape"):
        read_shape(tmp_path / "a")


@pytest.mark.parametrize(
    ("rotation", "mode", "reason"),
    [
        ([1.0, 1.0], "spoiling", "no mode 'spoiling'"),
        ([1.0], "excitation", "two or more"),
        ([0.0, 0.0], "excitation", "not all 0"),
        ([1.0, np.nan], "excitation", "finite"),
        ([1.0, -1.0], "excitation", "integral of the pulse is 0"),
    ],
)
def test_what_cannot_be_scaled_is_refused(rotation, mode, reason):
    with pytest.raises(ProtocolError, match=reason):
        rf_shape(np.array(rotation), mode)


def test_names_end_as_the_mode(tmp_path):
    with pytest.raises(ProtocolError, match=r"\.exc"):
        write_shape(rf_shape(scaled(np.ones(4))), tmp_path / "a.inv")
    with pytest.raises(FileError, match="cannot be read"):
        read_shape(tmp_path / "none.exc")
