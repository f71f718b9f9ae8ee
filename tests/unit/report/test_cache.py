from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dip_stages
from dip_stages.report import cache, write
from dip_stages.report.cache import gather

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_report_is_written_again_once_records_or_plan_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "cell").mkdir()
    reports = (f"report {number}" for number in count(1))
    monkeypatch.setattr(write, "report_sweep", lambda _: next(reports))
    for times, change in enumerate(("cell/record.json", "plan.json", "cell/record.json"), start=1):
        (tmp_path / change).write_text(f"{times}")
        assert gather(tmp_path) == gather(tmp_path) == f"report {times}"


@pytest.mark.parametrize(
    "source",
    [
        "plotting.py",
        "cells/identity.py",
        "config/config.py",
        "report/tables.py",
        "report/page.html.j2",
        "report/reported.csv",
    ],
)
def test_a_report_is_of_its_sources_wherever_they_are_in_the_package(tmp_path: Path, source: str) -> None:
    package = shutil.copytree(Path(dip_stages.__file__).parent, tmp_path / "dip_stages")
    before = cache._state(tmp_path, package)
    assert before == cache._state(tmp_path)
    with (package / source).open("a") as file:
        file.write("# changed\n")
    assert cache._state(tmp_path, package) != before


def replaced(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    "alter",
    [
        lambda report: (report / ".gathered.json").write_text('{"state": "x", "text": "35.93 dB"}'),
        lambda report: replaced(report / ".gathered.json", "21.00", "35.93"),
        lambda report: (report / "cells.csv").unlink(),
        lambda report: (report / "cells.csv").write_text("psnr\n99\n"),
        shutil.rmtree,
        lambda report: (report.parent / "cell" / "output.png").write_bytes(b"another"),
        lambda report: (report.parent / "cell" / "output.png").unlink(),
    ],
    ids=["its cache", "its text", "a table gone", "a table", "all gone", "an image", "an image gone"],
)
def test_a_report_is_written_again_where_it_or_what_it_shows_was_altered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[Path], object]
) -> None:
    def written(root: Path) -> str:
        (root / "report").mkdir(exist_ok=True)
        (root / "report" / "cells.csv").write_text("psnr\n21\n")
        return "21.00 dB"

    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "output.png").write_bytes(b"an image")
    monkeypatch.setattr(write, "report_sweep", written)
    assert gather(tmp_path) == "21.00 dB"
    monkeypatch.setattr(write, "report_sweep", lambda root: f"again, {written(root)}")
    assert gather(tmp_path) == "21.00 dB"
    alter(tmp_path / "report")
    assert gather(tmp_path) == "again, 21.00 dB"
    assert (tmp_path / "report" / "cells.csv").read_text() == "psnr\n21\n"
