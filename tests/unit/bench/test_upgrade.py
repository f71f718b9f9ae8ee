"""Two cells of ``docs/stopping/cells.zip`` as the version before wrote them: an ensemble and a recorrupted fit."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dip_stages.report.stopping import load_readings
from dip_stages.store.records import CURVES, PLAN, RECORD, read_record
from tests.bench.upgrade import rewrite

OLD = Path(__file__).resolve().parents[2] / "golden" / "archive_schema3.zip"


def numbers(values: Any) -> list[Any]:
    """All values of nested mappings and lists, in the order of the keys; names of keys left out."""
    if isinstance(values, dict):
        return [number for below in values.values() for number in numbers(below)]
    if isinstance(values, list):
        return [number for below in values for number in numbers(below)]
    return [values]


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[dict[str, Any], bytes, Path]]:
    """The old record and curves of each cell, and the folder of the new one."""
    shutil.copy(OLD, tmp_path / "cells.zip")
    rewrite(tmp_path / "cells.zip")
    with zipfile.ZipFile(OLD) as old, zipfile.ZipFile(tmp_path / "cells.zip") as new:
        new.extractall(tmp_path / "new")
        folders = [[cell["folder"] for cell in json.loads(packed.read(PLAN))["cells"]] for packed in (old, new)]
        return [
            (json.loads(old.read(f"{before}/{RECORD}")), old.read(f"{before}/{CURVES}"), tmp_path / "new" / after)
            for before, after in zip(*folders, strict=True)
        ]


def test_an_upgraded_archive_has_every_number_of_the_old_one(pairs: list[tuple[dict[str, Any], bytes, Path]]) -> None:
    assert len(pairs) == 2
    for old, curves, folder in pairs:
        new = json.loads((folder / RECORD).read_text())
        for field in ("metrics", "stopping", "members", "stages", "iterations", "timing", "observation", "computed"):
            assert numbers(new[field]) == numbers(old[field]), field
        assert (folder / CURVES).read_bytes() == curves
        assert (read_record(folder).lost, new["sees_clean"], new["error"]) == (False, old["sees_clean"], None)


def test_monitors_of_an_upgraded_archive_are_the_readers_of_the_old_one(
    pairs: list[tuple[dict[str, Any], bytes, Path]],
) -> None:
    frame = load_readings(pairs[0][2].parent)
    for old, _, folder in pairs:
        rows = frame[frame.folder == folder.name].set_index("monitor")
        assert list(rows.index) == list(old["stopping"]["readers"])
        for label, reader in old["stopping"]["readers"].items():
            assert rows.average_psnr[label] == reader["average"]["psnr"]
            assert rows.iteration[label] == reader["iteration"]
