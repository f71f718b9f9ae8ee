"""A record on disk has the fields that its types document."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from dip_stages.cells.runner import run_cell
from dip_stages.store import record_fields
from dip_stages.store.records import Record, read_record
from dip_stages.store.statuses import RecordStatus
from dip_stages.workers.jobs import Job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell

FEW = ("trainer.iterations=4", "trainer.chunk=2")
CELLS = {
    "recorrupted": ("protocol=recorrupted", "monitors=all", "scheduler.stages=2"),
    "ensemble": ("method=baseline", "ensemble.members=2"),
    "competitor": ("method=tv",),
    "diverged": ("method=baseline", "method.input_scale=1e39"),
}


def check(value: Any, hint: Any, where: str) -> None:
    """Check that a value of a JSON file is of a type."""
    if get_origin(hint) is NotRequired:
        hint = get_args(hint)[0]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        assert value is not None or NoneType in arguments, where
        (hint,) = (argument for argument in arguments if argument is not NoneType)
        if value is not None:
            check(value, hint, where)
    elif is_typeddict(hint):
        check_fields(value, hint, where)
    elif origin in (list, dict):
        for key, item in value.items() if origin is dict else enumerate(value):
            check(item, arguments[-1], f"{where}.{key}")
    elif origin is Literal:
        assert value in arguments, where
    elif hint is not Any:
        assert isinstance(value, (int, float) if hint is float else hint), where
        assert isinstance(value, bool) is (hint is bool), where


def check_fields(value: dict[str, Any], fields: Any, where: str) -> None:
    hints = get_type_hints(fields, include_extras=True)
    required = {key for key, hint in hints.items() if fields.__total__ and get_origin(hint) is not NotRequired}
    assert required <= value.keys() <= hints.keys(), where
    for key, item in value.items():
        check(item, hints[key], f"{where}.{key}")


def check_record(record: Record) -> None:
    for key, hint in get_type_hints(Record, localns=vars(record_fields), include_extras=True).items():
        check(getattr(record, key), hint, key)


@pytest.mark.parametrize("kind", CELLS)
def test_the_record_of_a_cell_has_the_fields_of_its_types(make_cell: MakeCell, tmp_path: Path, kind: str) -> None:
    run_cell(make_cell(*FEW, *CELLS[kind]), tmp_path, threads=1)
    record = read_record(tmp_path)
    assert record.status is (RecordStatus.FAILED if kind == "diverged" else RecordStatus.DONE)
    check_record(record)


def test_the_record_of_a_process_that_died_has_them_too(make_cell: MakeCell, tmp_path: Path) -> None:
    check_record(Job.of(make_cell(*FEW), tmp_path).failure("SIGKILL", "killed", lost=True))
