from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.records import write_json
from tests.bench.study import replaced, section
from tests.unit.report.test_ensembles import an_ensemble
from tests.unit.report.test_readings import a_read_cell, reading

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = "# Title\n\n<!-- one -->\nold\n<!-- /one -->\n\nmore\n\n<!-- two -->\n<!-- /two -->\n"


def test_what_stands_between_the_marks_is_replaced_and_nothing_else() -> None:
    once = replaced(DOCUMENT, "two", "new")
    assert once == DOCUMENT.replace("<!-- two -->\n", "<!-- two -->\n\nnew\n\n")
    assert replaced(once, "two", "new") == once
    assert "old" not in replaced(once, "one", r"\1 new")
    with pytest.raises(ValueError, match="no <!-- three -->"):
        replaced(DOCUMENT, "three", "new")


def test_a_study_says_which_targets_were_met(tmp_path: Path) -> None:
    cells = [
        a_read_cell(
            tmp_path,
            f"cell{seed}",
            seed,
            {
                "auto": reading("discrepancy", 100, 27.0, 30.0 - seed / 2),
                "auto_estimated": reading("discrepancy", 90, 27.0, 30.0),
                "oracle": reading("oracle", 120, 26.5, 30.125),
                "oracle_of_output": reading("oracle", 90, 28.0, 29.5),
            },
        )
        for seed in (0, 1)
    ]
    cells.append(an_ensemble(tmp_path, "together", 31.0, [30.0, 30.5]))
    write_json(tmp_path / "plan.json", {"schema": 2, "name": "x", "command": "", "cells": cells})
    text = section(tmp_path)
    assert "3 done of 3 cells, on rocket" in text
    assert "| oracle *" in text
    assert "mean gap 0.38 dB (missed); worst 0.62 dB (missed); mean gap with sigma estimated 0.12 dB (met)" in text
    assert "105 iterations spent, 120 at the peak (met)" in text
    assert "Ensembles: 0.75 dB over one run (met)" in text
