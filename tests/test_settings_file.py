"""Settings files: what is read, what is refused, and names that were meant."""

import pytest

from pulsetwin.errors import FileError
from pulsetwin.settings_file import did_you_mean, read_toml


def test_tables_of_a_file(tmp_path):
    (tmp_path / "a.toml").write_text("x = 1\n[part]\ny = [1.5]\n", "utf-8")
    assert read_toml(tmp_path / "a.toml") == {"x": 1, "part": {"y": [1.5]}}


@pytest.mark.parametrize("content", [b"x = ", b"\xff\xfe", b"x = " + b"9" * 5000, b"x = " + b"[" * 5000])
def test_what_is_not_toml_is_named(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(FileError, match=r"bad\.toml.*is not TOML"):
        read_toml(tmp_path / "bad.toml")


def test_what_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(FileError, match="cannot be read"):
            read_toml(path)


def test_the_nearest_name_is_told():
    assert did_you_mean("fligp_angle", ("flip_angle", "phase")) == ", did you mean 'flip_angle'?"
    assert did_you_mean("zzz", ("flip_angle", "phase")) == ""
