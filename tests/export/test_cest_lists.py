"""Lists of CEST fingerprinting: what is written is what is read; the unit traps of published lists are refused."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import FileError, OutputExistsError, ProtocolError
from pulsetwin.export.cest_lists import (
    CestSchedule,
    read_cest_list,
    read_cest_table,
    rounded,
    rounding,
    write_cest_list,
)


def schedule(**changes):
    values = {
        "tr": [3.9, 4.9, 15.0],
        "b1": [1e-6, 1.3e-6, 0.0],
        "offset_ppm": [8.0, -3.5, 53.13],
        "flip_angle": np.deg2rad([90, 60, 15]),
        "saturation_time": [0.4, 0.9, 0.0],
    }
    return CestSchedule(**(values | changes))


def test_the_text_is_that_of_the_published_lists(tmp_path):
    write_cest_list(schedule(), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"3\n3900 1.00 8 90 400\n4900 1.30 -3.5 60 900\n15000 0.00 53.13 15 0\n"


@pytest.mark.parametrize("separator", [" ", "\t ", "   "])
def test_lists_of_either_separator_are_read(tmp_path, separator):
    rows = [" 2", *(separator.join(["", *row.split()]) for row in ("3520 4.00 -3.5 90 2500", "3054 1.60 3.5 30 2235"))]
    (tmp_path / "a.txt").write_text("\n".join(rows) + "\n\n")
    read = read_cest_list(tmp_path / "a.txt")
    np.testing.assert_allclose(read.tr, [3.52, 3.054])
    np.testing.assert_allclose(read.b1, [4e-6, 1.6e-6])
    np.testing.assert_allclose(read.offset_ppm, [-3.5, 3.5])
    np.testing.assert_allclose(read.flip_angle, np.deg2rad([90, 30]))
    np.testing.assert_allclose(read.saturation_time, [2.5, 2.235])


def test_what_is_read_back_is_what_to_simulate(tmp_path):
    asked = schedule(b1=[1.004e-6, 1.2965e-6, 0.0], tr=[3.9000004, 4.9, 15.0])
    kept = write_cest_list(asked, tmp_path / "a.txt")
    read = read_cest_list(tmp_path / "a.txt")
    for name in ("tr", "b1", "offset_ppm", "flip_angle", "saturation_time"):
        np.testing.assert_array_equal(getattr(read, name), getattr(kept, name))
        np.testing.assert_array_equal(getattr(rounded(asked), name), getattr(kept, name))
    np.testing.assert_allclose(kept.b1, [1e-6, 1.3e-6, 0], atol=1e-15)
    changes = rounding(asked)
    assert changes["b1"] == pytest.approx(4e-9)
    assert changes["tr"] == pytest.approx(4e-7, rel=1e-3)
    assert changes["saturation_time"] == 0
    assert set(rounding(kept).values()) == {0.0}


def test_trap_one_a_list_in_seconds(tmp_path):
    (tmp_path / "a.txt").write_text("2\n4 5.00 3.0 90 3\n4 3.00 3.0 90 3\n")
    with pytest.raises(FileError, match=r"image 1 .*look like seconds"):
        read_cest_list(tmp_path / "a.txt")
    with pytest.raises(ProtocolError, match="look like seconds"):
        schedule(tr=[3.9e-3, 4.9e-3, 15e-3], saturation_time=[0.4e-3, 0.9e-3, 0])
    with pytest.raises(ProtocolError, match="look like milliseconds"):
        schedule(tr=[3900, 4900, 15000], saturation_time=[400, 900, 0])


def test_trap_two_a_saturation_that_was_rounded_away(tmp_path):
    (tmp_path / "a.txt").write_text("2\n4000 1.00 8 90 1000\n4000 1.30 8 90 0\n")
    with pytest.raises(FileError, match=r"image 2 .*rounded away"):
        read_cest_list(tmp_path / "a.txt")
    with pytest.raises(ProtocolError, match="rounded away"):
        rounded(schedule(saturation_time=[0.4e-6, 0.9, 0.0]))
    with pytest.raises(ProtocolError, match=r"image 1: B1 0\.004 uT would be written as 0"):
        rounded(schedule(b1=[4e-9, 1e-6, 0.0]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"saturation_time": [3.9, 0.9, 0.0]}, "image 1 .*between 0 and TR"),
        ({"saturation_time": [0.4, -0.9, 0.0]}, "image 2 .*between 0 and TR"),
        ({"b1": [1.0, 1.3, 0.0]}, r"B1 is not in 0\.\.20 uT"),
        ({"b1": [1e-6, 20.1e-6, 0.0]}, "image 2 .*B1"),
        ({"b1": [1e-6, -1e-6, 0.0]}, "image 2 .*B1"),
        ({"flip_angle": [90, 60, 15]}, "flip angle"),
        ({"offset_ppm": [8, np.nan, 1]}, "image 2 .*finite"),
        ({"tr": [4.0, 5.0]}, "one value per image"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, reason):
    with pytest.raises(ProtocolError, match=reason):
        schedule(**changes)


@pytest.mark.parametrize(
    "text", ["", "2\n3900 1.00 8 90 400\n", "1\n3900 1.00 8 90\n", "1\n3900 1.00 8 90 x\n", "x\n1 2 3 4 5\n"]
)
def test_damaged_lists_are_told(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FileError, match=r"the first line is the number of images"):
        read_cest_list(tmp_path / "a.txt")
    with pytest.raises(FileError):
        read_cest_list(tmp_path / "none.txt")


def test_tables_in_si_units_are_read_in_any_order(tmp_path):
    text = "b1,tr,offset_ppm,saturation_time,flip_angle\n1e-6, 3.9,8,0.4,1.5707963\n"
    (tmp_path / "a.csv").write_text(text)
    read = read_cest_table(tmp_path / "a.csv")
    assert (read.tr[0], read.b1[0], read.saturation_time[0]) == (3.9, 1e-6, 0.4)
    (tmp_path / "a.csv").write_text(text.replace("b1", "b1_ut"))
    with pytest.raises(FileError, match="give the columns tr,b1,offset_ppm"):
        read_cest_table(tmp_path / "a.csv")


def test_existing_lists_stay_unless_forced(tmp_path):
    write_cest_list(schedule(), tmp_path / "a.txt")
    with pytest.raises(OutputExistsError):
        write_cest_list(schedule(), tmp_path / "a.txt")
    write_cest_list(schedule(), tmp_path / "a.txt", force=True)
