from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dip_stages.errors import RecordError
from dip_stages.store.files import make_folder, replacing
from dip_stages.store.json_files import read_json, write_json
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path


def test_no_bit_may_be_flipped_and_no_byte_may_go(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1.25, "b": ["x", None]})
    whole = path.read_bytes()
    assert read_json(path) == {"a": 1.25, "b": ["x", None]}
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RecordError):
            read_json(path)
        path.write_bytes(whole[:place])
        with pytest.raises(RecordError):
            read_json(path)


def test_what_is_no_file_or_lies_below_one_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, why in (("folder", "Is a directory"), ("file/x.json", "Not a directory"), ("loop", "Too many levels")):
        with refused(RecordError, tmp_path / name, problem=f"cannot be read: {why}"):
            read_json(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


def test_a_folder_in_the_place_of_a_file_is_set_aside_and_so_is_a_file_in_that_of_a_folder(tmp_path: Path) -> None:
    for _ in range(3):  # over those that were set aside before
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "in it").mkdir()
        with replacing(tmp_path / "x") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "x").read_text() == "new"
        make_folder(tmp_path / "x")
        assert (tmp_path / "x").is_dir()
        os.rmdir(tmp_path / "x")  # noqa: PTH106 - empty
    names = ["x.broken", *(f"x.broken-{number}" for number in range(2, 7))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
