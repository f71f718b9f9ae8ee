from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from dip_stages import report
from dip_stages.report.stopping import kinds, load_readings, stopping_table
from dip_stages.store.records import write_record
from tests.reporting import a_record, axes, plan_entry, write_plan

if TYPE_CHECKING:
    from pathlib import Path


def choice(rule: str, iteration: int, output: float, average: float, **changes: Any) -> dict[str, Any]:
    return {
        "rule": rule,
        "needs_clean": rule == "oracle",
        "sigma": None,
        "decided": True,
        "iteration": iteration,
        "spent": iteration + 5,
        "output": {"psnr": output, "ssim": 0.5},
        "average": {"psnr": average, "ssim": 0.75},
    } | changes


def a_monitored_cell(
    root: Path,
    name: str,
    seed: int,
    monitors: dict[str, Any],
    method: str = "baseline",
    fit_sigma: str | None = None,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    cell = axes(method, seed=seed)
    (root / name).mkdir()
    stopping = {"rule": "none", "decided": False, "sigma": None, "monitors": monitors}
    observation = {"source": "bundled", "psnr": 20.0, "ssim": 0.3}
    if fit_sigma:
        observation["recorruption"] = {"source": fit_sigma, "value": 0.1}
    changes = {"settings": settings} if settings else {}
    write_record(root / name, a_record(name, cell, 25.0, stopping=stopping, observation=observation, **changes))
    return plan_entry(name, cell)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    known = {"sigma": {"source": "known", "value": 0.1}}
    cells = [
        a_monitored_cell(
            tmp_path,
            f"cell{seed}",
            seed,
            {
                "discrepancy": choice("discrepancy", 100, 27.0, 30.0 - seed, **known),
                "es_wmv": choice("es_wmv", 200, 26.0, 29.0, decided=seed == 0),
                "oracle": choice("oracle", 120, 26.5, 30.5),
                "oracle_of_output": choice("oracle", 90, 28.0, 29.5),
            },
        )
        for seed in (0, 1)
    ]
    cells.append(a_monitored_cell(tmp_path, "unmonitored", 2, {}, method="staged"))
    write_plan(tmp_path, cells)
    return tmp_path


def test_a_row_a_cell_and_monitor_with_its_gap_to_the_peak_of_the_same_fit(root: Path) -> None:
    frame = load_readings(root)
    assert len(frame) == 8
    row = frame[(frame.monitor == "discrepancy") & (frame.seed == 1)].iloc[0]
    assert (row.average_psnr, row.average_gap, row.output_gap, row.peak_iteration) == (29.0, 1.5, 1.0, 120)
    assert (row.sigma, row.sigma_source, row.spent, row.method) == (0.1, "known", 105, "baseline")


def test_the_table_has_means_and_the_worst_the_nearest_rule_first(root: Path) -> None:
    table = stopping_table(load_readings(root))
    assert list(table.monitor) == ["oracle", "discrepancy", "oracle_of_output", "es_wmv"]
    row = table.set_index("monitor").loc["discrepancy"]
    assert (row["gap mean"], row["gap worst"], row["PSNR"], row["SSIM"]) == (1.0, 1.5, 29.5, 0.75)
    assert (row["spent"], row["chosen"], row["at the peak"], row["cells"], row["decided"]) == (105, 100, 120, 2, 2)
    assert table.set_index("monitor").loc["es_wmv", "decided"] == 1


def test_methods_are_compared_with_the_plain_baseline_under_the_same_rule_pair_by_pair(tmp_path: Path) -> None:
    def monitors_of(psnr: float) -> dict[str, Any]:
        rules = {"auto": psnr, "es_wmv": psnr - 1, "oracle": 31.0, "oracle_of_output": 31.0}
        return {label: choice(label, 100, 27.0, average) for label, average in rules.items()}

    for seed in (0, 1, 2):
        a_monitored_cell(tmp_path, f"plain{seed}", seed, monitors_of(28.0 + seed))
    for seed, psnr in ((0, 28.5), (1, 28.75), (7, 40.0)):
        a_monitored_cell(tmp_path, f"staged{seed}", seed, monitors_of(psnr), method="staged")
    table = stopping_table(load_readings(tmp_path)).set_index(["method", "monitor"])
    for monitor in ("auto", "es_wmv"):
        assert table.loc[("staged", monitor), "PSNR vs baseline"] == 0.125
        assert table.loc[("staged", monitor), "better"] == "1 of 2"
        assert table.better.isna().loc[("baseline", monitor)]
    assert table.loc[("staged", "auto"), "cells"] == 3
    assert {"protocol", "input"}.isdisjoint(table.reset_index().columns)


def test_settings_that_differ_separate_rows_null_among_them(tmp_path: Path) -> None:
    for seed, value in enumerate((None, None, 0.1)):
        settings = {"method": {"name": "baseline"}, "protocol": {"last_alpha": value}, "seed": seed}
        monitors = {name: choice("oracle", 9, 27.0, 30.0 + seed) for name in ("oracle", "oracle_of_output")}
        a_monitored_cell(tmp_path, f"cell{seed}", seed, monitors, settings=settings)
    frame = load_readings(tmp_path)
    table = stopping_table(frame)
    assert list(table["protocol.last_alpha"]) == ["0.1", "0.1", "null", "null"]
    assert list(table["PSNR"]) == [32.0, 32.0, 30.5, 30.5]
    assert set(kinds(frame)) == {"baseline, last_alpha=null", "baseline, last_alpha=0.1"}
    assert set(kinds(frame, but=["protocol.last_alpha"])) == {"baseline"}


def test_a_setting_of_unmonitored_cells_alone_is_none_of_the_monitors(tmp_path: Path) -> None:
    for seed, lag in enumerate((0.0, 0.0, 1.0)):
        names = ("oracle", "oracle_of_output") if lag == 0 else ()
        monitors = {name: choice("oracle", 9, 27.0, 30.0) for name in names}
        settings = {"method": {"name": "baseline"}, "stopping": {"lag": lag}}
        a_monitored_cell(tmp_path, f"cell{seed}", seed, monitors, settings=settings)
    assert "stopping.lag" in report.load(tmp_path)
    assert "stopping.lag" not in load_readings(tmp_path)


def test_pairs_share_the_settings_that_baselines_have_and_where_sigma_is_from(tmp_path: Path) -> None:
    def rules(psnr: float, source: str | None = None) -> dict[str, Any]:
        sigma = {"source": source, "value": 0.1} if source else None
        oracles = {name: choice(name, 100, 27.0, 31.0) for name in ("oracle", "oracle_of_output")}
        return {"auto": choice("x", 100, 27.0, psnr, sigma=sigma), **oracles}

    for seed, (method, debias, monitors, fit) in enumerate(
        [
            ("baseline", True, rules(28.0, "known"), None),
            ("baseline", False, rules(20.0, "known"), None),
            ("staged", True, rules(28.5), "known"),
            ("staged", False, rules(20.25), "estimate"),
        ]
    ):
        settings = {"method": {"name": method}, "average": {"debias": debias}}
        a_monitored_cell(tmp_path, f"cell{seed}", 0, monitors, method=method, fit_sigma=fit, settings=settings)
    table = stopping_table(load_readings(tmp_path))
    staged = table[(table.method == "staged") & (table.monitor == "auto")].set_index("average.debias")
    assert staged.loc[True, "PSNR vs baseline"] == 0.5
    assert staged["PSNR vs baseline"].isna().loc[False]


def test_a_baseline_with_pixels_held_out_is_compared_with_the_one_that_sees_all(tmp_path: Path) -> None:
    for name, held_out, psnr in (("whole", 0.0, 28.0), ("held", 0.1, 27.5)):
        rules = {"auto": psnr, "oracle": 31.0, "oracle_of_output": 31.0} | ({"held_out": psnr} if held_out else {})
        monitors = {label: choice(label, 100, 27.0, average) for label, average in rules.items()}
        settings = {"method": {"name": "baseline"}, "trainer": {"held_out": held_out}}
        a_monitored_cell(tmp_path, name, 0, monitors, settings=settings)
    table = stopping_table(load_readings(tmp_path)).set_index(["trainer.held_out", "monitor"])
    assert table.loc[(0.1, "auto"), "PSNR vs baseline"] == -0.5
    assert table.loc[(0.1, "auto"), "better"] == "0 of 1"
    unpaired = [(0.1, "held_out"), (0.0, "auto")]  # a rule that the other has not, and the baseline itself
    assert table["PSNR vs baseline"].isna().loc[unpaired].all()


@pytest.mark.usefixtures("drawn")
def test_the_report_shows_it_and_marks_what_needs_the_clean_image(root: Path) -> None:
    text = report.report_sweep(root)
    assert "## Where each rule would have stopped" in text
    assert "| oracle *" in text
    assert "| discrepancy  " in text
    assert (root / "report" / "readings.csv").exists()
    assert (root / "report" / "stopping.md").read_text() in text
    with Image.open(root / "report" / "gaps.png") as figure:
        assert figure.width > 500


def test_kinds_of_cells_are_named_by_what_differs(tmp_path: Path) -> None:
    rules = {"es_wmv": choice("es_wmv", 200, 26.0, 29.0)}
    a_monitored_cell(tmp_path, "plain", 0, rules)
    a_monitored_cell(tmp_path, "staged", 0, rules, method="staged")
    assert set(kinds(load_readings(tmp_path))) == {"baseline", "staged"}


def test_a_sweep_without_monitors_has_no_such_table(tmp_path: Path) -> None:
    a_monitored_cell(tmp_path, "unmonitored", 0, {})
    assert load_readings(tmp_path).empty
    assert "would have stopped" not in report.report_sweep(tmp_path)


def test_without_oracles_there_is_no_gap_and_no_table(tmp_path: Path) -> None:
    a_monitored_cell(tmp_path, "cell", 0, {"es_wmv": choice("es_wmv", 200, 26.0, 29.0)})
    assert "average_gap" not in load_readings(tmp_path)
    assert "would have stopped" not in report.report_sweep(tmp_path)
    assert (tmp_path / "report" / "readings.csv").exists()
