from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dip_stages import report
from dip_stages.cells.identity import AXES
from dip_stages.errors import RecordError
from dip_stages.report.axis_plots import plot_grid
from dip_stages.report.curve_plots import _curve, _panels
from dip_stages.report.image_plots import _liveliest
from dip_stages.report.tables import comparison, grid, protocols, reported, to_html, to_latex, to_markdown
from dip_stages.store.records import Record, write_csv, write_json, write_record
from tests.raising import refused


def axes(method: str, **changes: Any) -> dict[str, Any]:
    staged = {"protocol": "renoised", "scheduler": "linear", "budget": "saturating", "input": "previous_output"}
    blank = {"protocol": None, "scheduler": None, "budget": None, "input": "fixed_noise"}
    values = {
        "method": method,
        "arch": "unet",
        "beta_max": 0.01,
        "noise": "gaussian",
        "loss": "mse",
        "average": "exponential",
        "stopping": "none",
        "members": 1,
        "picture": "rocket",
        "seed": 0,
        "noise_seed": 0,
    }
    return {axis: (values | (blank if method == "baseline" else staged) | changes)[axis] for axis in AXES}


def a_record(folder: str, axes: dict[str, Any], psnr: float | None, **changes: Any) -> Record:
    at = {"iteration": 40, "psnr": psnr, "ssim": 0.5}
    peak = {"iteration": 20, "psnr": (psnr or 0) + 1, "ssim": 0.6, "needs_clean": True}
    pair = {"end": at, "peak": peak}
    result = {"of": "average", **at, "gap_psnr": {"value": 1.0, "needs_clean": True}}
    values: dict[str, Any] = {
        "status": "failed" if psnr is None else "done",
        "cell": {"id": folder, "folder": folder, "axes": axes},
        "config": {},
        "settings": {"method": {"name": axes["method"]}, "trainer": {"lr": 0.01}, "seed": axes["seed"]},
        "sees_clean": axes["protocol"] == "clean",
        "computed": {},
        "timing": {"seconds": 1.5},
        "iterations": {"planned": 40, "run": 40, "rollbacks": 0},
        "observation": {"source": "bundled", "psnr": 20.0, "ssim": 0.3},
        "metrics": None if psnr is None else {"output": pair, "average": pair, "result": result},
        "stopping": {"rule": "none", "decided": False, "sigma": None, "readers": {}},
        "error": {"message": "diverged"} if psnr is None else None,
    }
    return Record(**(values | changes))


class Sweep:
    """A sweep on disk, made of records."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cells: list[dict[str, Any]] = []

    def add(
        self,
        axes: dict[str, Any],
        psnr: float | None = None,
        *,
        missing: bool = False,
        planned: bool = True,
        **changes: Any,
    ) -> Path:
        name = f"cell{len(list(self.root.iterdir())) + len(self.cells)}"
        if planned:
            self.cells.append({"id": name, "folder": name, "axes": axes})
        folder = self.root / name
        if not missing:
            folder.mkdir()
            write_record(folder, a_record(name, axes, psnr, **changes))
            if psnr is not None:
                rows = [{"iteration": i, "output_psnr": psnr - 10 / i} for i in (10, 20, 40)]
                write_csv(folder / "curves.csv", ["iteration", "output_psnr"], rows)
                for picture in ("clean", "observed", "output"):
                    Image.new("RGB", (16, 16), (int(psnr) * 5, 90, 90)).save(folder / f"{picture}.png")
        write_json(self.root / "plan.json", {"schema": 1, "name": "x", "cells": self.cells})
        return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


def test_a_row_a_planned_cell_with_its_figures(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged", protocol="clean"), 27.0)
    frame = report.load(sweep.root)
    assert list(frame.status) == ["done", "done"]
    assert list(frame.output_psnr) == [25.0, 27.0]
    assert list(frame.output_peak_psnr) == [26.0, 28.0]
    assert list(frame.sees_clean) == [False, True]
    assert set(AXES) <= set(frame.columns)


def test_failed_missing_and_unreadable_cells_are_rows_too_and_strangers_are_apart(sweep: Sweep) -> None:
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
def test_holes_say_why_where_there_is_a_reason(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged"), missing=True)
    assert f"- {sweep.cells[1]['folder']}: missing\n" in report.report_sweep(sweep.root)
    sweep.add(axes("staged", seed=1), None)
    assert f"- {sweep.cells[2]['folder']}: failed, diverged\n" in report.report_sweep(sweep.root)


@pytest.mark.usefixtures("unplotted")
def test_single_cells_are_reported_without_a_plan(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0, planned=False)
    (sweep.root / "plan.json").unlink()
    frame = report.load(sweep.root)
    assert list(frame.output_psnr) == [25.0]
    assert list(frame.method) == ["baseline"]
    assert "1 done of 1 cells" in report.report_sweep(sweep.root)


def test_records_that_cannot_be_read_are_reported_as_such_where_nothing_else_is(sweep: Sweep) -> None:
    folder = sweep.add(axes("baseline"), 25.0, planned=False)
    (sweep.root / "plan.json").unlink()
    (folder / "record.json").write_text("{")
    text = report.report_sweep(sweep.root)
    assert "1 unreadable of 1 cells" in text
    assert "truncated" in text


def test_a_setting_that_differs_becomes_a_column_and_the_others_do_not(sweep: Sweep) -> None:
    for lr in (0.01, 0.02):
        sweep.add(axes("baseline"), 25.0, settings={"trainer": {"lr": lr, "chunk": 20}, "method": {"name": "baseline"}})
    frame = report.load(sweep.root)
    assert list(frame["trainer.lr"]) == [0.01, 0.02]
    assert "trainer.chunk" not in frame
    assert list(comparison(frame, "none")["trainer.lr"]) == [0.01, 0.02]


def test_a_setting_that_a_cell_does_not_name_stands_at_what_there_was_before(sweep: Sweep) -> None:
    for trainer in ({"chunk": 20}, {"chunk": 20, "held_out": 0.1}):
        sweep.add(axes("baseline"), 25.0, settings={"trainer": trainer, "method": {"name": "baseline"}})
    frame = report.load(sweep.root)
    assert list(frame["trainer.held_out"]) == [0.0, 0.1]
    assert "trainer.layout" not in frame
    assert len(comparison(frame, "none")) == 2


def test_the_reported_figures_are_the_course_reports() -> None:
    table = reported().set_index("row")
    assert len(table) == 10
    assert list(table.loc["4", ["psnr", "ssim"]]) == [28.9212, 0.9905]
    assert list(table.loc["B2", ["psnr", "ssim"]]) == [25.1043, 0.967]
    assert list(table.loc["5", ["beta_max", "scheduler", "loss"]]) == [0.02, "linear", "mse"]


def test_ours_stand_beside_the_reported_figures_baselines_first(sweep: Sweep) -> None:
    sweep.add(axes("staged", scheduler="scaled_linear", loss="perceptual (random)"), 27.0)
    sweep.add(axes("staged", arch="dncnn"), 24.0)
    sweep.add(axes("baseline"), 25.0)
    table = comparison(report.load(sweep.root), "renoised")
    assert table["#"].fillna("").tolist() == ["B1", "4", ""]
    assert table["PSNR ours"].tolist() == [25.0, 27.0, 24.0]
    assert table["PSNR reported"].tolist()[:2] == [26.8612, 28.9212]
    assert pd.isna(table["PSNR reported"][2])


@pytest.mark.usefixtures("unplotted")
def test_the_difference_is_shown_on_the_reports_picture_alone(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    assert "PSNR diff." not in comparison(report.load(sweep.root), "none")
    assert "No difference is shown" in report.report_sweep(sweep.root)
    theirs = {"source": "butterflies", "reports_picture": True, "psnr": 20.0, "ssim": 0.3}
    sweep.add(axes("staged", picture="butterflies"), 27.0, observation=theirs)
    table = comparison(report.load(sweep.root), "renoised").set_index("#")
    assert table.loc["1", "PSNR diff."] == pytest.approx(27.0 - 27.7683)
    assert table.loc["1", "SSIM diff."] == pytest.approx(0.5 - 0.9827)
    assert table["PSNR diff."].isna()["B1"]


def test_seeds_are_averaged_with_their_deviation(sweep: Sweep) -> None:
    for seed, psnr in enumerate((24.0, 25.0, 29.0)):
        sweep.add(axes("staged", seed=seed), psnr)
    sweep.add(axes("staged", seed=3), None)
    row = comparison(report.load(sweep.root), "renoised").iloc[0]
    assert row["PSNR ours"] == pytest.approx(26.0)
    assert row["± std"] == pytest.approx(7**0.5)
    assert row["cells"] == "3 done, 1 failed"


def test_a_table_a_protocol_each_with_the_baselines(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    sweep.add(axes("staged"), 27.0)
    frame = report.load(sweep.root)
    assert protocols(frame) == ["clean", "renoised"]
    assert comparison(frame, "clean")["PSNR ours"].tolist() == [25.0, 29.0]
    assert comparison(frame, "renoised")["PSNR ours"].tolist() == [25.0, 27.0]


def test_what_was_reported_of_gaussian_noise_stands_beside_no_other(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("baseline", noise="poisson"), 24.0)
    gaussian, poisson = comparison(report.load(sweep.root), "none").to_dict("records")
    assert (gaussian["noise"], gaussian["#"], gaussian["PSNR reported"]) == ("gaussian", "B1", 26.8612)
    assert all(pd.isna(poisson[column]) for column in ("#", "PSNR reported", "SSIM reported"))
    assert (poisson["noise"], poisson["PSNR ours"]) == ("poisson", 24.0)


def test_records_from_before_there_was_an_axis_are_read(sweep: Sweep) -> None:
    old = {axis: value for axis, value in axes("baseline").items() if axis != "noise"}
    sweep.add(old, 25.0)
    frame = report.load(sweep.root)
    assert frame.noise.tolist() == ["gaussian"]
    assert comparison(frame, "none")["PSNR reported"].tolist() == [26.8612]


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


def test_records_are_gathered_without_a_report_on_request(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged"), missing=True)
    assert report.write_cells(sweep.root).startswith("2 cells written")
    assert {path.name for path in (sweep.root / "report").iterdir()} == {"cells.csv", "cells.parquet"}
    pd.testing.assert_frame_equal(pd.read_parquet(sweep.root / "report" / "cells.parquet"), report.load(sweep.root))


def test_the_grid_has_mean_and_deviation_over_seeds_and_pictures_and_marks_the_best(sweep: Sweep) -> None:
    for picture, level in (("rocket", 0.0), ("coffee", 2.0)):
        for seed in (0, 1):
            sweep.add(axes("baseline", picture=picture, seed=seed), 24.0 + level + seed)
            sweep.add(axes("staged", picture=picture, seed=seed), 25.0 + level)
    table = grid(report.load(sweep.root), "renoised")
    assert table.PSNR.tolist() == ["25.50 ± 1.29", "26.00 ± 1.15"]
    assert table[["pictures", "cells"]].to_numpy().tolist() == [[2, 4], [2, 4]]
    assert table.best.tolist() == [False, True]
    assert "**26.00 ± 1.15**" in to_markdown(table)
    assert r"\textbf{26.00 $\pm$ 1.15}" in to_latex(table)
    assert "<strong>26.00 ± 1.15</strong>" in to_html(table)
    assert "best" not in to_markdown(table)


def test_latex_and_html_escape_what_they_would_read_as_their_own() -> None:
    table = pd.DataFrame({"a_b": ["50% & $x_1$ {#}"], "<i>": ["a < b & c"]})
    latex = to_latex(table)
    assert r"a\_b & <i>" in latex
    assert r"50\% \& \$x\_1\$ \{\#\}" in latex
    assert r"\toprule" in latex
    assert "&lt;i&gt;" in to_html(table)
    assert "a &lt; b &amp; c" in to_html(table)


def test_markdown_shows_a_hole_as_a_dash() -> None:
    table = pd.DataFrame(
        {"beta_max": [0.01], "PSNR ours": [25.126], "SSIM ours": [0.98765], "PSNR diff.": [1.0], "x": [None]}
    )
    assert to_markdown(table).splitlines()[-1].split() == [
        "|",
        "0.01",
        "|",
        "25.13",
        "|",
        "0.988",
        "|",
        "+1.00",
        "|",
        "–",
        "|",
    ]


def test_the_report_is_written_and_says_what_sees_the_clean_picture_and_what_is_missing(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    sweep.add(axes("staged"), None)
    sweep.add(axes("staged", scheduler="scaled_linear"), missing=True)
    text = report.report_sweep(sweep.root)
    assert "protocol clean – SEES THE CLEAN PICTURE" in text
    assert "2 done, 1 failed, 1 missing of 4 cells" in text
    assert "failed, diverged" in text
    written = {path.name for path in (sweep.root / "report").iterdir()}
    tables = (f"{name}_{protocol}" for name in ("table", "grid") for protocol in ("clean", "renoised"))
    assert written == {
        "cells.csv", "cells.parquet", "report.md", "index.html",
        *(f"{figure}.{ending}" for figure in ("curves", "pictures", "details", "grid") for ending in ("png", "svg")),
        *(f"{table}.{ending}" for table in (*tables, "claims") for ending in ("csv", "md", "tex", "html")),
    }  # fmt: skip
    assert len(pd.read_csv(sweep.root / "report" / "cells.csv")) == 4
    assert report.report_sweep(sweep.root) == text


def test_a_sweep_in_which_everything_failed_still_reports(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), None)
    text = report.report_sweep(sweep.root)
    assert "1 failed of 1 cells" in text
    assert "no figures" in text


def test_a_baseline_stands_in_the_curves_of_every_protocol_and_pictures_are_not_chosen_by_quality(sweep: Sweep) -> None:
    from dip_stages.report.curve_plots import _panels
    from dip_stages.report.image_plots import _row

    sweep.add(axes("baseline"), 25.0)
    first = sweep.add(axes("staged"), 21.0)
    sweep.add(axes("staged", loss="perceptual (random)"), 29.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    frame = report.load(sweep.root)
    cells = list(frame.itertuples())
    assert _panels(frame, cells[0]) == ["unet, renoised", "unet, clean (sees clean)"]
    assert _row(frame)["staged, renoised"][0] == first.name


@pytest.mark.usefixtures("drawn")
def test_figures_cover_networks_seeds_and_holes(sweep: Sweep) -> None:
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


def test_the_part_that_is_enlarged_is_where_the_picture_varies_most() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[40:48, 16:24] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    rows, columns = _liveliest(picture)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
    assert rows.start <= 40 < 48 <= rows.stop
    assert columns.start <= 16 < 24 <= columns.stop


@pytest.mark.usefixtures("drawn")
def test_the_heat_map_names_kinds_by_what_tells_them_apart(sweep: Sweep) -> None:
    for picture in ("rocket", "coffee"):
        sweep.add(axes("baseline", picture=picture), 25.0)
        sweep.add(axes("staged", picture=picture), 26.0)
    sweep.add(axes("staged", picture="coffee", loss="perceptual (random)"), 22.0)
    assert plot_grid(report.load(sweep.root), sweep.root / "grid.png")
    drawn = (sweep.root / "grid.svg").read_text()
    for said in ("staged, renoised, perceptual (random)", "staged, renoised, mse", "baseline", "26.00", "22.00"):
        assert f"<!-- {said}" in drawn
    assert not plot_grid(report.load(sweep.root)[:1], sweep.root / "one.png")


def test_a_single_cell_is_described_with_what_the_peak_needed() -> None:
    text = report.describe(a_record("x", axes("staged", protocol="clean"), 25.0), folder=Path("here"))
    assert "output     PSNR  25.00 dB  SSIM 0.5000  after 40 iterations" in text
    assert "found with the clean picture" in text
    assert "guided by the clean picture" in text
    assert "failed: diverged" in report.describe(a_record("x", axes("staged"), None), Path("here"))


def test_methods_and_protocols_without_a_schedule_have_their_names_in_the_figures(sweep: Sweep) -> None:
    blank = {"protocol": None, "scheduler": None, "budget": None}
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("baseline", input="observed"), 25.5)
    sweep.add(axes("aseqdip", **blank, input="own_output"), 26.0)
    sweep.add(axes("staged", protocol="recorrupted", scheduler=None, budget=None, input="observed"), 27.0)
    sweep.add(axes("staged"), 26.5)
    frame = report.load(sweep.root)
    named = {
        (curve.cell.iloc[0], curve.panel.iloc[0])
        for cell in frame.itertuples()
        for panel in _panels(frame, cell)
        for curve in [_curve(sweep.root, cell, panel)]
    }
    panels = ("unet, recorrupted", "unet, renoised")
    everywhere = {(name, panel) for name in ("baseline", "baseline, fed y", "aseqdip") for panel in panels}
    assert named == everywhere | {("recorrupted, mse", panels[0]), ("linear, mse", panels[1])}
    text = report.report_sweep(sweep.root)
    assert "curves.png, pictures.png, details.png" in text
    assert "nan" not in text
