from __future__ import annotations

import csv
import io
import os
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from dip_stages import report
from dip_stages.names import printable
from dip_stages.report.escaping import latex, markdown, to_csv
from dip_stages.report.tables import to_html, to_latex, to_markdown
from dip_stages.status import status
from tests.reporting import Sweep, axes

if TYPE_CHECKING:
    from pathlib import Path

ODD = os.fsdecode(b"=a\xff\x1b|`$x_1$\n<script>&lt;[b](c)\xe2\x80\xae")
_TIMING = {"seconds": 1.5, "seconds_per_iteration": 0.1}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        ("a\nb", r"a\nb"),
        ("<b>", "&lt;b&gt;"),
        ("&lt;", "&amp;lt;"),
        ("`x` $y$", r"\`x\` \$y\$"),
        ("*a* _b_ ~~c~~", r"\*a\* \_b\_ \~~c\~~"),
        ("![x](http://y)", r"![x]\(http://y)"),
        ("R&D, scaled_linear, [16, 32], peak PSNR *", "R&D, scaled_linear, [16, 32], peak PSNR *"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "\ta", "\ra", " =1", "-2+3", "-1|cmd", "\uff1d1", "-\x1b"])
def test_csv_has_no_formulas(text: str) -> None:
    table = pd.DataFrame({"a": [text], text: [1.5]})
    for row in csv.reader(io.StringIO(to_csv(table))):
        assert f"'{printable(text)}" in row


def test_numbers_in_csv_stay() -> None:
    table = pd.DataFrame({"a": ["-1.5", "+2e-3", "-inf", "-0.10 to +0.20 dB", "a=b"], "b": [-1.0, 2, 3, 4, None]})
    assert to_csv(table) == table.to_csv(index=False)


def test_latex_keeps_the_start_of_a_row_from_being_an_option() -> None:
    assert [latex("[a]"), latex("*"), latex("a|`")] == ["{[}a{]}", "{*}", r"a\textbar{}\textasciigrave{}"]


def test_a_table_has_a_line_a_row_whatever_is_in_it() -> None:
    odd = ODD.replace("\udcff", "")  # which pandas holds as no text
    table = pd.DataFrame({"image": [odd, "rocket"], odd: ["x", "y"]})
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in to_markdown(table).splitlines()} == {3}
    assert len(to_latex(table).splitlines()) == len(to_latex(pd.DataFrame({"a": ["b", "c"]})).splitlines())
    assert "<script>" not in to_html(table) + to_markdown(table)


@pytest.fixture
def odd_sweep(tmp_path: Path) -> Sweep:
    root = tmp_path / ODD
    root.mkdir()
    sweep = Sweep(root)
    for image in (ODD, "n" * 251):
        sweep.add(axes("baseline", image=image), 25.0, timing=_TIMING)
        sweep.add(axes("staged", image=image), 26.0, timing=_TIMING)
    sweep.add(axes("staged", seed=1), None, error={"message": ODD}, timing=_TIMING)
    return sweep


@pytest.mark.usefixtures("drawn")
@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_a_report_is_safe_and_whole_with_any_name(odd_sweep: Sweep) -> None:
    text = report.report_sweep(odd_sweep.root)
    written = {path.name: path.read_text() for path in (odd_sweep.root / "report").glob("*.[!p]*")}
    del written["index.html"]  # it has DataTables
    for content in (text, *written.values()):
        assert all(line.isprintable() for line in content.replace("\r", "").split("\n"))
    assert "<script>" not in written["report.md"] + written["grid_renoised.html"]
    parquet = (odd_sweep.root / "report" / "cells.parquet").read_bytes()
    assert printable(ODD) in pd.read_parquet(io.BytesIO(parquet)).image.tolist()
    assert f"'{printable(ODD)}" in pd.read_csv(odd_sweep.root / "report" / "cells.csv").image.tolist()
    assert {"grid.png", "details.svg", "pictures.png"} < {path.name for path in (odd_sweep.root / "report").iterdir()}


@pytest.mark.usefixtures("unplotted")
def test_cells_in_folders_of_any_name_are_found(odd_sweep: Sweep) -> None:
    (odd_sweep.root / "plan.json").unlink()
    (odd_sweep.root / odd_sweep.cells[0]["folder"]).rename(odd_sweep.root / ODD)
    assert "4 done, 1 failed of 5 cells" in report.report_sweep(odd_sweep.root)
    page = (odd_sweep.root / "report" / "index.html").read_text()
    assert page.count('"images": {"observed"') == 4
    assert "4 cells done in both" in report.compare(odd_sweep.root, odd_sweep.root)
    assert all(line.isprintable() for line in str(status(odd_sweep.root)).split("\n"))
