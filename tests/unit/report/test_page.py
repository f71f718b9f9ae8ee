from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages import report
from dip_stages.report import page
from tests.reporting import Sweep, axes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("unplotted")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    sweep = Sweep(tmp_path)
    for image in ("rocket", "coffee"):
        sweep.add(axes("baseline", image=image), 25.0)
        sweep.add(axes("staged", image=image), 26.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    sweep.add(axes("staged", seed=1), None)
    sweep.add(axes("staged", seed=2), missing=True)
    return sweep


def page_of(sweep: Sweep) -> str:
    report.report_sweep(sweep.root)
    return (sweep.root / "report" / "index.html").read_text()


def data(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.S)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def test_every_planned_cell_is_a_row_and_the_failed_and_missing_come_first(sweep: Sweep) -> None:
    text = page_of(sweep)
    assert "5 done, 1 failed, 1 missing of 7 cells, on coffee, rocket." in text
    rows = re.findall(r'<tr><td><(?:a|span)[^>]* title="([^"]+)"', text)
    assert rows == [cell["folder"] for cell in sweep.cells]
    bad = text[text.index('id="bad"') : text.index("</section>", text.index('id="bad"'))]
    assert re.findall(r"<strong>(\w+)</strong> (\w+)(: diverged)?", bad) == [
        ("failed", sweep.cells[5]["folder"], ": diverged"),
        ("missing", sweep.cells[6]["folder"], ""),
    ]
    assert text.index('id="bad"') < text.index("The course report&#39;s claims</h2>") < text.index('id="cells-section"')


def test_cells_that_are_done_have_images_and_configuration_in_the_page(sweep: Sweep) -> None:
    cells = data(page_of(sweep))
    assert list(cells) == [cell["folder"] for cell in sweep.cells[:5]]
    for cell in cells.values():
        assert set(cell["images"]) == {"observed", "output", "clean"}
        assert all(uri.startswith("data:image/webp;base64,") for uri in cell["images"].values())
    assert [cell["sees_clean"] for cell in cells.values()] == [False, False, False, False, True]


def test_the_page_loads_nothing_from_elsewhere(sweep: Sweep) -> None:
    text = re.sub(r'<script type="application/octet-stream".*?</script>', "", page_of(sweep), flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text)
    assert "default-src 'none'" in text


def test_a_column_is_sorted_by_its_numbers_and_holes_come_before_them(sweep: Sweep) -> None:
    text = page_of(sweep)
    assert '<td data-order="25.0">25.00</td>' in text
    assert '<td data-order="-1e99">–</td>' in text
    assert '<td data-order="rocket">rocket</td>' in text


def test_what_is_written_cannot_end_its_element(sweep: Sweep) -> None:
    evil = "</script><script>alert(1)</script>"
    sweep.add(axes("staged", seed=3, image=evil), 25.0, config={"data": {"name": evil}})
    sweep.add(axes("staged", seed=4), None, error={"message": evil})
    text = page_of(sweep)
    assert "alert(1)</script>" not in text
    assert data(text)[sweep.cells[7]["folder"]]["config"] == {"data": {"name": evil}}


def test_of_many_cells_the_first_planned_have_images(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MOST_SHOWN", 2)
    text = page_of(sweep)
    assert list(data(text)) == [cell["folder"] for cell in sweep.cells[:2]]
    assert "the first 2 have these" in text
