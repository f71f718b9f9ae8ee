from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.json_files import write_json
from dip_stages.store.plans import OUTDATED_ADVICE, PLAN_SCHEMA, read_plan
from dip_stages.store.records import PLAN
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

CELL = {"id": "a", "folder": "a", "axes": {}, "iterations": 1, "sees_clean": False}
WHOLE = {"schema": PLAN_SCHEMA, "name": "test", "command": "again", "cells": [CELL]}


def test_a_plan_reads_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / PLAN, WHOLE)
    assert read_plan(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"name": "test"}, "'cells'"),
        ({**WHOLE, "cells": [{}]}, "'axes'"),
        ({**WHOLE, "cells": [CELL, {key: CELL[key] for key in CELL if key != "axes"}]}, "'axes'"),
        ({key: WHOLE[key] for key in WHOLE if key != "command"}, "'command'"),
    ],
)
def test_what_a_plan_lacks_is_named(tmp_path: Path, values: dict[str, Any], missing: str) -> None:
    write_json(tmp_path / PLAN, values)
    with refused(
        RecordError, tmp_path / PLAN, problem=f"no {missing} in it", allowed="a plan that a sweep has written"
    ):
        read_plan(tmp_path)


def test_a_plan_of_an_older_version_is_told_from_one_of_another(tmp_path: Path) -> None:
    write_json(tmp_path / PLAN, {**WHOLE, "schema": PLAN_SCHEMA - 1})
    with refused(OutdatedError, tmp_path / PLAN, problem="of an older version", allowed=OUTDATED_ADVICE):
        read_plan(tmp_path)
    write_json(tmp_path / PLAN, {**WHOLE, "schema": PLAN_SCHEMA + 1})
    with refused(RecordError, tmp_path / PLAN, problem="of another version"):
        read_plan(tmp_path)
