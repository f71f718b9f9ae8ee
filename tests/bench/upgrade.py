"""Rewrites an archive that the version before wrote: ``python -m tests.bench.upgrade docs/stopping/cells.zip``.

Records of schema 3 become records of schema 4, and ``plan.json`` one of schema 3: settings, columns and identities get
their new names; a cell's folder ends in its new identity. Numbers and curves stay as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from dip_stages.cells.identity import Cell, cell_of
from dip_stages.config import parse
from dip_stages.store.json_files import write_json
from dip_stages.store.plans import PLAN_SCHEMA
from dip_stages.store.records import CURVES, PLAN, RECORD, Record, write_record
from tests.bench.study import archive

_RENAMED = {"readers": "monitors", "picture": "image", "reports_picture": "course_image"}


def renamed(value: Any) -> Any:
    """Return nested values with the new names of keys."""
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): renamed(below) for key, below in value.items()}
    return [renamed(below) for below in value] if isinstance(value, list) else value


def upgraded(values: dict[str, Any]) -> tuple[Cell, Record]:
    """Return the cell and the record of schema 4 for a record of schema 3."""
    new = renamed({key: value for key, value in values.items() if key not in ("checksum", "schema", "settings")})
    cell = cell_of(parse(new["config"]))
    error = new["error"] and {key: value for key, value in new["error"].items() if key != "lost"}
    own = {"id": cell.id, "folder": cell.folder, "axes": cell.axes}
    lost = bool((values["error"] or {}).get("lost"))
    return cell, Record(**new | {"cell": own, "settings": cell.settings, "error": error, "lost": lost})


def rewrite(path: Path) -> None:
    """Rewrite an archive in place, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as packed:
        root = Path(folder)
        plan, cells = json.loads(packed.read(PLAN)), []
        for planned in plan["cells"]:
            cell, record = upgraded(json.loads(packed.read(f"{planned['folder']}/{RECORD}")))
            (root / cell.folder).mkdir()
            write_record(root / cell.folder, record)
            (root / cell.folder / CURVES).write_bytes(packed.read(f"{planned['folder']}/{CURVES}"))
            cells.append({**record.cell, "iterations": planned["iterations"], "sees_clean": record.sees_clean})
        kept = {"schema": PLAN_SCHEMA, "name": plan["name"], "command": plan["command"], "cells": cells}
        write_json(root / PLAN, kept)
        archive(root, path)


def main() -> None:
    """Rewrite archives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", type=Path, nargs="+")
    for path in parser.parse_args().archives:
        rewrite(path)


if __name__ == "__main__":
    main()
