from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.cells.runner import run_cell
from dip_stages.store.records import read_record, write_record
from dip_stages.store.states import look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeCell


@pytest.fixture
def done(make_cell: MakeCell, tmp_path: Path) -> Path:
    run_cell(make_cell("method=baseline", "trainer.iterations=4"), tmp_path / "cell", threads=1)
    return tmp_path / "cell"


def test_every_file_that_a_cell_leaves_is_in_its_record(done: Path) -> None:
    left = {path.name for path in done.iterdir() if path.is_file()} - {"record.json"}
    assert read_record(done).files.keys() == left
    assert {"curves.csv", "clean.png", "observed.png", "output.png", "average.png", "result.png"} <= left
    assert look(done, files=True).damaged == ()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "altered"),
        (lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]), "altered"),
        (lambda path: (path.unlink(), path.mkdir()), "missing"),
    ],
    ids=["gone", "truncated", "altered", "a folder"],
)
@pytest.mark.parametrize("name", ["curves.csv", "output.png"])
def test_a_file_that_is_missing_or_altered_is_named(
    done: Path, name: str, what: str, change: Callable[[Path], object]
) -> None:
    change(done / name)
    found = look(done, files=True)
    assert (found.state, found.damaged) == ("done", (f"{name} {what}",))
    assert look(done).damaged == ()


def test_a_record_from_before_files_were_listed_says_so(done: Path) -> None:
    record = read_record(done)
    record.files = {}
    write_record(done, record)
    assert look(done, files=True).damaged == ("no checksums of its files",)


@pytest.mark.parametrize("where", ["the cell", "its record"])
def test_an_entry_that_is_none_is_named_and_the_cell_is_to_do(done: Path, tmp_path: Path, where: str) -> None:
    if where == "the cell":
        done.rename(tmp_path / "away")
        done.write_text("a file")
    else:
        (done / "record.json").unlink()
        (done / "record.json").mkdir()
    found = look(done)
    assert found.state == "to do"
    assert found.broken is not None
    assert found.broken.startswith(f"{done / 'record.json'}: cannot be read: ")
