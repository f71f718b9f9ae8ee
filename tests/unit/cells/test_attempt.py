from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from dip_stages.cells import attempt
from dip_stages.cells.runner import run_cell
from dip_stages.store import json_files
from dip_stages.store.json_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.conftest import MakeCell


def test_progress_is_on_disk_while_a_cell_runs_and_gone_afterwards(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def spy(path: Path, values: dict[str, Any]) -> None:
        json_files.write_json(path, values)
        seen.append(read_json(path))

    monkeypatch.setattr(attempt, "write_json", spy)
    run_cell(make_cell("trainer.iterations=20", "scheduler.stages=1"), tmp_path, threads=1)
    assert seen[-1]["iteration"] == seen[-1]["iterations"] == 20
    assert set(seen[-1]) == {"started", "iteration", "iterations", "rate", "loss", "psnr"}
    assert seen[-1]["rate"] > 0
    assert datetime.fromisoformat(seen[-1]["started"]).tzinfo is not None
    assert not (tmp_path / "progress.json").exists()


def test_progress_that_cannot_be_written_costs_nothing(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attempt, "write_json", full)
    assert run_cell(make_cell("trainer.iterations=4"), tmp_path, threads=1).status == "done"
