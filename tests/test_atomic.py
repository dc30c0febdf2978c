from __future__ import annotations

import os
from pathlib import Path

import pytest

from pulsetwin.atomic import atomic_file, atomic_folder, require_writable
from pulsetwin.errors import OutputExistsError


def names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


def test_file_appears_only_when_complete(tmp_path):
    target = tmp_path / "new" / "scan.nii.gz"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == target.parent
    assert target.read_text() == "whole"
    assert names(target.parent) == ["scan.nii.gz"]


def write_then_fail(target: Path, error: type[BaseException]) -> None:
    with atomic_file(target, force=True) as temporary:
        temporary.write_text("half")
        raise error


def write_files(target: Path, *names: str, force: bool = False) -> None:
    with atomic_folder(target, force=force) as folder:
        for name in names:
            (folder / name).write_text("new")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_no_litter(tmp_path, error):
    target = tmp_path / "scan.json"
    target.write_text("old")
    with pytest.raises(error):
        write_then_fail(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["scan.json"]


def test_file_is_not_overwritten_without_force(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputExistsError, match="--force"), atomic_file(target):
        pytest.fail("the block must not run")
    with atomic_file(target, force=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    target = tmp_path / "a.txt"

    def write() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("mine")
            target.write_text("theirs")

    with pytest.raises(OutputExistsError):
        write()
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["a.txt"]


def test_dangling_link_counts_as_existing(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExistsError):
        require_writable(tmp_path / "link")


def test_file_and_folder_are_not_mistaken(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputExistsError, match="is a folder"), atomic_file(tmp_path / "folder", force=True):
        pass
    with pytest.raises(OutputExistsError, match="is a file"), atomic_folder(tmp_path / "file", force=True):
        pass
    with pytest.raises(OutputExistsError, match="is a file"):
        require_writable(tmp_path / "file" / "below")


@pytest.mark.parametrize("force", [False, True])
def test_the_wrong_kind_is_found_before_any_work(tmp_path, force):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputExistsError, match="is a folder; give the name of a file"):
        require_writable(tmp_path / "empty", force=force)
    with pytest.raises(OutputExistsError, match="is a file; give the name of a folder"):
        require_writable(tmp_path / "file", folder=True, force=force)
    require_writable(tmp_path / "empty", folder=True, force=force)
    require_writable(tmp_path / "absent", folder=True, force=force)


def test_folder_appears_only_when_complete(tmp_path):
    target = tmp_path / "deep" / "out"
    with atomic_folder(target) as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "a.png").write_text("a")
        assert not target.exists()
    assert names(target.parent) == ["out", "out/figures", "out/figures/a.png"]


def test_folder_has_the_usual_rights(tmp_path):
    with atomic_folder(tmp_path / "out"):
        pass
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failure_leaves_no_folder(tmp_path):
    with pytest.raises(OSError, match="absent"):
        write_files(tmp_path / "out", "a", "absent/b")
    assert names(tmp_path) == []


def test_empty_folder_may_be_filled_but_not_a_full_one(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(OutputExistsError), atomic_folder(target):
        pytest.fail("the block must not run")
    assert (target / "a").read_text() == "1"


def test_force_replaces_ours_and_leaves_the_rest(tmp_path):
    target = tmp_path / "out"
    (target / "figures").mkdir(parents=True)
    for name in ("images", "old", "notes.txt", "figures/mine.png", "figures/a.png"):
        (target / name).write_text("before")
    with atomic_folder(target, force=True, stale=("old", "images", "absent")) as folder:
        (folder / "figures").mkdir()
        (folder / "images").write_text("new")
        (folder / "figures" / "a.png").write_text("new")
    found = {name: (target / name).read_text() for name in names(target) if (target / name).is_file()}
    expected = {"images": "new", "figures/a.png": "new", "notes.txt": "before", "figures/mine.png": "before"}
    assert found == expected
    assert names(tmp_path)[0] == "out"


def test_stale_list_cannot_reach_outside(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    outside = tmp_path / "precious"
    for file in (outside, target / "a"):
        file.write_text("keep")
    (target / "link").symlink_to(outside)
    with atomic_folder(target, force=True, stale=("../precious", str(outside), "link")) as folder:
        (folder / "b").write_text("new")
    assert outside.read_text() == "keep"


def test_conflict_is_found_before_anything_moves(tmp_path):
    target = tmp_path / "out"
    (target / "z").mkdir(parents=True)
    (target / "a").write_text("old")
    with pytest.raises(OutputExistsError, match="is a folder"):
        write_files(target, "a", "z", force=True)
    assert (target / "a").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_forbidden_place_is_found_early(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputExistsError, match="permission"):
        require_writable(tmp_path / "out")
