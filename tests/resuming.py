"""A tiny cell that is interrupted and resumed, and its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.cells.hardware import wants_bfloat16
from dip_stages.cells.runner import run_cell
from dip_stages.errors import Interrupted
from dip_stages.store import checkpoints
from dip_stages.store.checkpoints import read_checkpoint
from dip_stages.store.records import CHECKPOINT, Record

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell

FEW = ("trainer.iterations=16", "trainer.chunk=4", "scheduler.stages=2", "budget=constant", "arch.scales=2")
"""Settings of the cell, whose chunks end at 4, 8, 12 and 16 iterations."""


def interrupted(cell: Cell, folder: Path, after: int = 10, **settings: Any) -> Path:
    left = iter(range(after))
    with pytest.raises(Interrupted, match="iterations done: 8"):
        run_cell(cell, folder, threads=1, should_stop=lambda: next(left, None) is None, **settings)
    return folder / CHECKPOINT


def resume(cell: Cell, folder: Path, **settings: Any) -> Record:
    return run_cell(cell, folder, threads=1, **settings)


def saved_in(folder: Path, cell: Cell) -> dict[str, Any]:
    saved, why_not = read_checkpoint(
        folder, cell.id, checkpoints.made_with("", "cpu", bfloat16=wants_bfloat16("auto", "cpu"))
    )
    assert saved is not None, why_not
    return {key: value for key, value in saved.items() if key != "schema"}
