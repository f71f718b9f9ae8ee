from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.store.checkpoints import write_checkpoint
from tests.resuming import FEW, interrupted, resume, saved_in

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from tests.conftest import MakeCell


@pytest.fixture(scope="module")
def cell(make_cell: MakeCell) -> Cell:
    return make_cell(*FEW)


def test_the_time_of_all_attempts_counts(cell: Cell, tmp_path: Path) -> None:
    interrupted(cell, tmp_path)
    saved = saved_in(tmp_path, cell)
    assert saved["seconds"] > saved["fit_seconds"] > 0
    write_checkpoint(tmp_path, {**saved, "seconds": 9000.0, "fit_seconds": 8000.0})
    timing = resume(cell, tmp_path).timing
    assert timing["seconds"] is not None
    assert timing["seconds_per_iteration"] is not None
    assert 9000 < timing["seconds"] < 9600
    assert 8000 / 16 < timing["seconds_per_iteration"] < 8600 / 16
