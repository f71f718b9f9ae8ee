from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from dip_stages import report
from dip_stages.cells.identity import AXES
from dip_stages.errors import RecordError
from dip_stages.report import rows
from dip_stages.report.tables import comparison
from tests.raising import refused
from tests.reporting import Sweep, axes

if TYPE_CHECKING:
    from pathlib import Path


def test_a_row_a_planned_cell_with_its_metrics(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged", protocol="clean"), 27.0)
    frame = report.load(sweep.root)
    assert list(frame.status) == ["done", "done"]
    assert list(frame.output_psnr) == [25.0, 27.0]
    assert list(frame.output_peak_psnr) == [26.0, 28.0]
    assert list(frame.sees_clean) == [False, True]
    assert set(AXES) <= set(frame.columns)


def test_failed_missing_and_unreadable_cells_are_rows_too_and_unplanned_ones_are_marked(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged"), None)
    sweep.add(axes("staged", seed=1), missing=True)
    broken = sweep.add(axes("staged", seed=2), 26.0)
    (broken / "record.json").write_text('{"schema": 1')
    sweep.add(axes("staged", seed=3), 29.0, planned=False)
    frame = report.load(sweep.root)
    assert list(frame.status) == ["done", "failed", "missing", "unreadable", "done"]
    assert list(frame.planned) == [True] * 4 + [False]
    assert frame.seed.tolist() == [0, 0, 1, 2, 3]
    assert frame.output_psnr.isna().tolist() == [False, True, True, True, False]
    assert frame.error[1] == "diverged"
    assert "truncated" in frame.error[3]


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with refused(RecordError, folder, problem="plan.json"):
            report.load(folder)


@pytest.mark.usefixtures("unplotted")
def test_single_cells_are_reported_without_a_plan(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0, planned=False)
    (sweep.root / "plan.json").unlink()
    frame = report.load(sweep.root)
    assert list(frame.output_psnr) == [25.0]
    assert list(frame.method) == ["baseline"]
    assert "1 done of 1 cells" in report.report_sweep(sweep.root)


def test_a_setting_that_differs_becomes_a_column_and_the_others_do_not(sweep: Sweep) -> None:
    for lr in (0.01, 0.02):
        sweep.add(axes("baseline"), 25.0, settings={"trainer": {"lr": lr, "chunk": 20}, "method": {"name": "baseline"}})
    frame = report.load(sweep.root)
    assert list(frame["trainer.lr"]) == [0.01, 0.02]
    assert "trainer.chunk" not in frame
    assert list(comparison(frame, "none")["trainer.lr"]) == [0.01, 0.02]


def test_a_setting_that_a_cell_does_not_name_has_its_neutral_value(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "NEUTRAL", {"trainer.held_out": 0.0, "trainer.layout": "auto"})
    for trainer in ({"chunk": 20}, {"chunk": 20, "held_out": 0.1}):
        sweep.add(axes("baseline"), 25.0, settings={"trainer": trainer, "method": {"name": "baseline"}})
    frame = report.load(sweep.root)
    assert list(frame["trainer.held_out"]) == [0.0, 0.1]
    assert "trainer.layout" not in frame
    assert len(comparison(frame, "none")) == 2


@pytest.mark.usefixtures("unplotted")
def test_the_frame_has_the_same_types_in_every_sweep_and_comes_back_from_parquet(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    lone = report.load(sweep.root)
    sweep.add(axes("staged"), None)
    sweep.add(axes("staged", seed=1), missing=True)
    frame = report.load(sweep.root)
    shared = list(lone)
    assert frame[shared].dtypes.tolist() == lone.dtypes.tolist()
    assert (str(frame.protocol.dtype), str(frame.seed.dtype), str(frame.output_psnr.dtype)) == (
        "str",
        "Int64",
        "float64",
    )
    report.report_sweep(sweep.root)
    pd.testing.assert_frame_equal(pd.read_parquet(sweep.root / "report" / "cells.parquet"), frame)


def test_records_are_written_in_one_frame_without_a_report_on_request(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged"), missing=True)
    assert report.write_cells(sweep.root).startswith("2 cells written")
    assert {path.name for path in (sweep.root / "report").iterdir()} == {"cells.csv", "cells.parquet"}
    pd.testing.assert_frame_equal(pd.read_parquet(sweep.root / "report" / "cells.parquet"), report.load(sweep.root))
