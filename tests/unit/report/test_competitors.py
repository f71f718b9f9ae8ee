"""Competitors in a report: cells like all others."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dip_stages.cells.runner import run_cell
from dip_stages.report import compare, effects, load, report_sweep
from dip_stages.report.tables import comparison

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell

SMALL = ("data.size=24",)


def test_tables_show_it_as_a_row_of_its_own(make_cell: MakeCell, tmp_path: Path) -> None:
    for cell in (make_cell("method=baseline", "trainer.iterations=2", *SMALL), make_cell("method=tv", *SMALL)):
        run_cell(cell, tmp_path / cell.folder, threads=1)
    frame = load(tmp_path)
    table = comparison(frame, "none")
    assert table.method.tolist() == ["baseline", "tv (competitor)"]
    row, ours = table.iloc[1], frame[frame.method == "tv"]
    assert row["PSNR ours"] == pytest.approx(ours.output_psnr.item())
    assert (ours.kind.item(), ours.sigma_source.item()) == ("competitor", "known")
    assert np.isnan(row["PSNR of average"])
    assert np.isnan(row["peak PSNR *"])


def test_a_sweep_of_competitors_alone_is_reported_and_compared(make_cell: MakeCell, tmp_path: Path) -> None:
    for beta_max, name in itertools.product((0.01, 0.02), ("coffee", "camera")):
        cell = make_cell("method=nlm", f"noise.beta_max={beta_max}", f"data.name={name}", *SMALL)
        run_cell(cell, tmp_path / cell.folder, threads=1)
    text = report_sweep(tmp_path)
    assert "4 done of 4 cells" in text
    assert "(competitor): no Deep Image Prior" in text
    steps = effects(load(tmp_path))
    assert steps[["axis", "from", "to", "pairs"]].to_numpy().tolist() == [["beta_max", "0.01", "0.02", 2]]
    assert steps["PSNR vs from"].item() < 0
    assert (tmp_path / "report" / "pictures.png").exists()
    assert "nlm (competitor)" in (tmp_path / "report" / "index.html").read_text()
    assert "4 cells" in compare(tmp_path, tmp_path)
