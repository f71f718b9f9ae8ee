from __future__ import annotations

import shutil

import pandas as pd
import pytest
from PIL import Image

from dip_stages import report
from tests.reporting import Sweep, axes


@pytest.mark.usefixtures("unplotted")
def test_holes_have_a_reason_where_there_is_one(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged"), missing=True)
    assert f"- {sweep.cells[1]['folder']}: missing\n" in report.report_sweep(sweep.root)
    sweep.add(axes("staged", seed=1), None)
    assert f"- {sweep.cells[2]['folder']}: failed, diverged\n" in report.report_sweep(sweep.root)


def test_records_that_cannot_be_read_are_reported_as_such_where_nothing_else_is(sweep: Sweep) -> None:
    folder = sweep.add(axes("baseline"), 25.0, planned=False)
    (sweep.root / "plan.json").unlink()
    (folder / "record.json").write_text("{")
    text = report.report_sweep(sweep.root)
    assert "1 unreadable of 1 cells" in text
    assert "truncated" in text


def test_the_report_is_written_and_names_what_sees_the_clean_image_and_what_is_missing(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    sweep.add(axes("staged"), None)
    sweep.add(axes("staged", scheduler="scaled_linear"), missing=True)
    text = report.report_sweep(sweep.root)
    assert "protocol clean – SEES THE CLEAN IMAGE" in text
    assert "2 done, 1 failed, 1 missing of 4 cells" in text
    assert "failed, diverged" in text
    written = {path.name for path in (sweep.root / "report").iterdir()}
    tables = (f"{name}_{protocol}" for name in ("table", "grid") for protocol in ("clean", "renoised"))
    assert written == {
        "cells.csv", "cells.parquet", "report.md", "index.html",
        *(f"{plot}.{ending}" for plot in ("curves", "pictures", "details", "grid") for ending in ("png", "svg")),
        *(f"{table}.{ending}" for table in (*tables, "claims") for ending in ("csv", "md", "tex", "html")),
    }  # fmt: skip
    assert len(pd.read_csv(sweep.root / "report" / "cells.csv")) == 4
    assert report.report_sweep(sweep.root) == text


def test_a_sweep_in_which_everything_failed_still_reports(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), None)
    text = report.report_sweep(sweep.root)
    assert "1 failed of 1 cells" in text
    assert "no plots" in text


@pytest.mark.usefixtures("drawn")
def test_plots_cover_networks_seeds_and_holes(sweep: Sweep) -> None:
    for arch in ("unet", "dncnn"):
        for beta_max in (0.01, 0.02):
            sweep.add(axes("baseline", arch=arch, beta_max=beta_max), 24.0)
            for seed in (0, 1):
                sweep.add(axes("staged", arch=arch, beta_max=beta_max, seed=seed), 25.0 + seed)
    shutil.rmtree(sweep.add(axes("staged", protocol="observed"), 20.0))
    report.report_sweep(sweep.root)
    for name in ("curves", "pictures", "details", "grid", "effects"):
        with Image.open(sweep.root / "report" / f"{name}.png") as figure:
            assert min(figure.size) > 300
        assert "</svg>" in (sweep.root / "report" / f"{name}.svg").read_text()
