from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from dip_stages.report.stopping import load_readings
from tests.bench.study import archive, main, replaced, section
from tests.reporting import write_plan
from tests.unit.report.test_ensembles import an_ensemble
from tests.unit.report.test_stopping import a_monitored_cell, choice

DOCS = Path(__file__).resolve().parents[3] / "docs"
DOCUMENT = "# Title\n\n<!-- one -->\nold\n<!-- /one -->\n\nmore\n\n<!-- two -->\n<!-- /two -->\n"


def test_only_the_text_between_the_marks_is_replaced() -> None:
    once = replaced(DOCUMENT, "two", "new")
    assert once == DOCUMENT.replace("<!-- two -->\n", "<!-- two -->\n\nnew\n\n")
    assert replaced(once, "two", "new") == once
    assert "old" not in replaced(once, "one", r"\1 new")
    with pytest.raises(ValueError, match="no <!-- three -->"):
        replaced(DOCUMENT, "three", "new")


def test_a_sweep_without_monitors_is_no_study(tmp_path: Path) -> None:
    cells = [a_monitored_cell(tmp_path, "unmonitored", 0, {})]
    write_plan(tmp_path, cells)
    with pytest.raises(SystemExit, match="no cell in it has monitors"):
        section(tmp_path)


def test_tables_and_plot_are_written_into_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, document = tmp_path / "one", tmp_path / "docs" / "study.md"
    for path in (folder, document.parent):
        path.mkdir()
    document.write_text(DOCUMENT)
    rules = {name: choice(name, 100, 27.0, 30.0) for name in ("es_wmv", "oracle", "oracle_of_output")}
    a_monitored_cell(folder, "cell", 0, rules)
    monkeypatch.setattr("sys.argv", ["study", str(folder), "--into", str(document)])
    main()
    assert "| es_wmv " in document.read_text()
    assert "(one/gaps.png)" in document.read_text()
    assert (document.parent / "one" / "gaps.png").exists()
    monitors = pd.read_csv(document.parent / "one" / "readings.csv")
    assert set(monitors.monitor) == set(rules)
    assert list(monitors.average_psnr) == [30.0] * 3


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as packed:
        packed.extractall(folder)
    return folder


def test_the_tables_can_be_made_from_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    rules = {name: choice(name, 100, 27.0, 30.0) for name in ("es_wmv", "oracle", "oracle_of_output")}
    cells = [a_monitored_cell(folder, f"cell{seed}", seed, rules) for seed in (0, 1)]
    write_plan(folder, cells, name="one")
    (folder / "cell0" / "curves.csv").write_text("iteration\n20\n")
    (folder / "cell0" / "result.png").write_bytes(b"large")
    archive(folder, tmp_path / "once.zip")
    again = unpacked(tmp_path / "once.zip", tmp_path / "again")
    assert section(again) == section(folder)
    assert (again / "cell0" / "curves.csv").read_text() == "iteration\n20\n"
    assert not (again / "cell0" / "result.png").exists()
    archive(again, tmp_path / "twice.zip")
    assert (tmp_path / "twice.zip").read_bytes() == (tmp_path / "once.zip").read_bytes()


@pytest.mark.parametrize("name", ["stopping_tuning", "stopping"])
def test_the_documentation_shows_what_its_archive_holds(tmp_path: Path, name: str) -> None:
    folder = unpacked(DOCS / name / "cells.zip", tmp_path / name)
    assert f"<!-- {name} -->\n\n{section(folder)}\n\n" in (DOCS / "stopping.md").read_text()
    shown = pd.read_csv(DOCS / name / "readings.csv")
    made = load_readings(folder)
    assert list(shown.folder + shown.monitor) == list(made.folder + made.monitor)
    assert list(shown.average_psnr) == pytest.approx(list(made.average_psnr), abs=1e-4)


def test_a_study_lists_which_targets_were_met(tmp_path: Path) -> None:
    cells = [
        a_monitored_cell(
            tmp_path,
            f"cell{seed}",
            seed,
            {
                "auto": choice("discrepancy", 100, 27.0, 30.0 - seed / 2),
                "auto_estimated": choice("discrepancy", 90, 27.0, 30.0),
                "oracle": choice("oracle", 120, 26.5, 30.125),
                "oracle_of_output": choice("oracle", 90, 28.0, 29.5),
            },
        )
        for seed in (0, 1)
    ]
    cells.append(an_ensemble(tmp_path, "together", 31.0, [30.0, 30.5]))
    for name, source, gap in (("knows", "known", 0.25), ("estimates", "estimate", 0.5)):
        rules = ("auto", "auto_estimated", "oracle", "oracle_of_output")
        monitors = {rule: choice(rule, 100, 27.0, 30.0 - gap * (rule[0] == "a")) for rule in rules}
        cells.append(a_monitored_cell(tmp_path, name, 7, monitors, method="staged", fit_sigma=source))
    write_plan(tmp_path, cells)
    text = section(tmp_path)
    assert "5 done of 5 cells, on rocket" in text
    (staged,) = (line for line in text.splitlines() if line.startswith("- staged:"))
    assert "mean gap 0.25 dB (missed)" in staged
    assert "mean gap with sigma estimated 0.50 dB (missed)" in staged
    assert "| oracle *" in text
    assert "mean gap 0.38 dB (missed); worst 0.62 dB (missed); 105 iterations spent, 120 at the peak (met)" in text
    assert "mean gap with sigma estimated 0.12 dB (met)" in text
    assert "Ensembles, baseline: 0.75 dB over one run (met)" in text
