from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

import dip_stages
from dip_stages.report import cache, write
from dip_stages.report.cache import gather


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
