"""The plan of a sweep on disk, ``plan.json``: which cells it has. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.json_files import check_checksum, check_schema, parse_json, read_content
from dip_stages.store.records import PLAN

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["OUTDATED_ADVICE", "PLAN_SCHEMA", "read_plan"]

PLAN_SCHEMA = 3
"""Version of the plan's schema."""

_PLAN_KEYS = {"name", "command", "cells"}
_CELL_KEYS = {"id", "folder", "axes", "sees_clean"}

OUTDATED_ADVICE = "the sweep run again with this version, or a report by the version that wrote it"
"""What to do with a sweep of an older version."""


def read_plan(root: Path) -> dict[str, Any]:
    """Read the plan in a sweep's folder.

    Raises:
        FileNotFoundError: If there is none: single cells have no plan.
        OutdatedError: If an older version of this package wrote it.
        RecordError: If it cannot be read, was altered, is no plan, or of another version.
    """
    path = root / PLAN
    content = read_content(path)
    plan = parse_json(path, content)
    try:
        if "cells" in plan:
            check_schema(path, plan, PLAN_SCHEMA)
    except OutdatedError as error:
        error.allowed = OUTDATED_ADVICE
        raise
    missing = _PLAN_KEYS - plan.keys() or {key for cell in plan["cells"] for key in _CELL_KEYS - cell.keys()}
    if missing:
        raise RecordError(f"no {min(missing)!r} in it", setting=path, allowed="a plan that a sweep has written")
    try:
        check_checksum(path, content)
    except RecordError as error:
        error.allowed = "the sweep's command, which writes it again"
        raise
    return plan
