from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.files import set_aside, write_text
from dip_stages.store.json_files import read_json, write_json
from dip_stages.store.records import RECORD, Record, read_record, write_csv, write_record
from tests.raising import refused


def a_record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "status": "done",
        "cell": {"id": "abc", "folder": "x", "axes": {}},
        "config": {},
        "settings": {"trainer": {"lr": 0.01}},
        "sees_clean": False,
        "computed": {},
        "timing": {},
        "iterations": {},
        "observation": {},
        "metrics": {"output": {}},
    }
    return Record(**(values | changes))


def test_a_record_reads_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    assert read_record(tmp_path) == a_record()
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": math.nan, "b": [math.inf, {"c": 1.5}]})
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None, {"c": 1.5}]}


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    whole = (tmp_path / RECORD).read_bytes()
    for length in range(len(whole) - 2):
        (tmp_path / RECORD).write_bytes(whole[:length])
        with refused(RecordError, tmp_path / RECORD, problem="truncated"):
            read_record(tmp_path)


def test_a_record_that_is_still_json_but_altered_is_noticed(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    whole = (tmp_path / RECORD).read_text()
    for altered in (whole.replace("0.01", "0.02"), whole.replace('"x"', '"y"'), whole + " ", whole[:-1]):
        (tmp_path / RECORD).write_text(altered)
        with refused(RecordError, tmp_path / RECORD, problem="altered"):
            read_record(tmp_path)


def test_what_is_set_aside_replaces_what_was_before(tmp_path: Path) -> None:
    for text in ("a", "b"):
        (tmp_path / RECORD).write_text(text)
        aside = set_aside(tmp_path / RECORD)
    assert aside.read_text() == "b"
    assert [path.name for path in tmp_path.iterdir()] == [f"{RECORD}.broken"]


@pytest.mark.parametrize(
    ("changes", "got", "problem"),
    [
        ({"schema": 99}, ..., "another version of dip_stages (schema 99, not 4)"),
        ({"extra": 1}, ..., "unknown ['extra']"),
        ({"status": "half"}, "half", "status"),
        ({"status": []}, [], "status"),
        ({"metrics": None}, "done", "status"),
        ({"status": "failed"}, "failed", "status"),
    ],
)
def test_a_record_that_is_not_one_is_refused(
    tmp_path: Path, changes: dict[str, Any], got: object, problem: str
) -> None:
    write_record(tmp_path, a_record())
    values = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(values | changes))
    with refused(RecordError, tmp_path / RECORD, got=got, problem=problem):
        read_record(tmp_path)


def test_a_record_of_an_older_version_is_refused_as_such(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    values = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(values | {"schema": 3}))
    with refused(OutdatedError, tmp_path / RECORD, problem="an older version of dip_stages (schema 3, not 4)"):
        read_record(tmp_path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    values = json.loads((tmp_path / RECORD).read_text())
    del values["timing"]
    (tmp_path / RECORD).write_text(json.dumps(values))
    with refused(RecordError, tmp_path / RECORD, problem="missing ['timing']"):
        read_record(tmp_path)


def test_json_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    with refused(RecordError, tmp_path / "x.json", problem="JSON list", allowed="an object"):
        read_json(tmp_path / "x.json")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    with pytest.raises(ValueError, match="dict contains fields not in fieldnames"):
        write_csv(tmp_path / "y.csv", ["a"], [{"b": 1}])
    assert read_json(tmp_path / "x.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "x.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_header_and_the_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ["a", "b"], [{"a": 1, "b": 2.5}])
    assert (tmp_path / "x.csv").read_text().splitlines() == ["a,b", "1,2.5"]


def test_names_that_are_not_utf8_read_as_they_were_written(tmp_path: Path) -> None:
    values = {"path": "a\udcff\x1b\u202e😀", "\udcfe": ["\udc80"], "checked": 1.5}
    write_json(tmp_path / "x.json", values)
    assert read_json(tmp_path / "x.json") == values
    for content in (b'{"a": "\\udcff", "b": NaN', b'["\\udcff"]', b'["\\udcff", ' + b"[" * 100_000):
        (tmp_path / "x.json").write_bytes(content)
        with refused(RecordError, tmp_path / "x.json"):
            read_json(tmp_path / "x.json")


def test_a_file_may_have_the_longest_name_there_is(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 127), "a")
    assert (tmp_path / ("é" * 127)).read_text() == "a"
