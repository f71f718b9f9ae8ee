"""What a sweep's folder has, and what is not to be trusted: records of an older version, altered plans and files."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from dip_stages import report
from dip_stages.errors import OutdatedError
from dip_stages.report.cache import gather
from dip_stages.store.plans import OUTDATED_ADVICE, PLAN_SCHEMA
from tests.raising import refused
from tests.reporting import Sweep, axes, outdate, write_plan

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine


@pytest.fixture
def outdated(sweep: Sweep) -> Sweep:
    """A sweep that an older version made."""
    outdate(sweep.add(axes("baseline"), 25.0))
    outdate(sweep.add(axes("staged"), 26.0))
    write_plan(sweep.root, sweep.cells, schema=PLAN_SCHEMA - 1)
    return sweep


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_it_is_refused_in_one_line_and_left_as_it_is(outdated: Sweep, command_in_process: CommandLine) -> None:
    before = files(outdated.root)
    folder = str(outdated.root)
    for arguments in ([folder], [folder, "--cells"], [folder, folder]):
        done = command_in_process(*arguments, module="dip_stages.report")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr == (
            f"{folder}/plan.json: of an older version of dip_stages (schema {PLAN_SCHEMA - 1}, not {PLAN_SCHEMA}); "
            f"allowed: {OUTDATED_ADVICE}\n"
        )
    for read in (report.load, report.load_readings, report.report_sweep, gather):
        with refused(OutdatedError, outdated.root / "plan.json", allowed=OUTDATED_ADVICE):
            read(outdated.root)
    assert files(outdated.root) == before
    assert not (outdated.root / "report").exists()


def test_single_cells_of_an_older_version_are_refused_where_there_are_no_others(outdated: Sweep) -> None:
    (outdated.root / "plan.json").unlink()
    with refused(OutdatedError, outdated.root, problem="all 2 cells are of an older version"):
        report.report_sweep(outdated.root)
    assert not (outdated.root / "report").exists()


@pytest.mark.usefixtures("text_alone")
@pytest.mark.parametrize("with_plan", [True, False])
def test_cells_of_an_older_version_beside_others_are_counted_and_left_out(outdated: Sweep, *, with_plan: bool) -> None:
    new = outdated.add(axes("baseline"), 27.0)
    write_plan(outdated.root, outdated.cells[-1:])
    if not with_plan:
        (outdated.root / "plan.json").unlink()
    text = report.report_sweep(outdated.root)
    assert "1 done of 1 cells, on rocket; 2 cells of an older version, left out\n" in text
    assert "Holes" not in text
    frame = report.load(outdated.root)
    assert sorted(frame.status) == ["done", "outdated", "outdated"]
    assert frame.folder[frame.planned].tolist() == [new.name]


@pytest.mark.usefixtures("text_alone")
def test_a_planned_cell_with_a_record_of_an_older_version_is_a_hole_with_its_reason(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    outdate(sweep.add(axes("staged"), 26.0))
    text = report.report_sweep(sweep.root)
    assert "1 done, 1 outdated of 2 cells" in text
    assert "of an older version of dip_stages (schema" in text.partition("Holes:")[2]


def test_a_plan_of_a_newer_version_is_refused_without_that_advice(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    plan = json.loads((sweep.root / "plan.json").read_text())
    (sweep.root / "plan.json").write_text(json.dumps(plan | {"schema": PLAN_SCHEMA + 1}))
    with pytest.raises(Exception, match="of another version of dip_stages") as caught:
        report.load(sweep.root)
    assert not isinstance(caught.value, OutdatedError)


def test_axes_come_from_the_record_and_from_the_plan_only_where_there_is_none(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged"), missing=True)
    planned = [cell | {"axes": cell["axes"] | {"arch": "dncnn"}, "sees_clean": True} for cell in sweep.cells]
    write_plan(sweep.root, planned)
    frame = report.load(sweep.root)
    assert frame.arch.tolist() == ["unet", "dncnn"]
    assert frame.sees_clean.tolist() == [False, True]


def test_the_record_of_another_cell_is_none_of_this_one(sweep: Sweep) -> None:
    first, second = sweep.add(axes("baseline"), 25.0), sweep.add(axes("staged"), 26.0)
    (second / "record.json").write_bytes((first / "record.json").read_bytes())
    frame = report.load(sweep.root)
    assert frame.status.tolist() == ["done", "unreadable"]
    assert frame.error[1].endswith("record.json: of another cell")
    assert frame.output_psnr.notna().tolist() == [True, False]


def test_a_copied_folder_counts_once_where_there_is_no_plan(sweep: Sweep) -> None:
    first = sweep.add(axes("baseline"), 25.0)
    shutil.copytree(first, first.with_name("copy"))
    (sweep.root / "plan.json").unlink()
    assert report.load(sweep.root).planned.tolist() == [True, False]


@pytest.mark.parametrize("name", ["output.png", "curves.csv"])
@pytest.mark.parametrize("change", ["altered", "missing"])
def test_files_that_are_not_those_of_the_record_are_named_and_not_shown(sweep: Sweep, name: str, change: str) -> None:
    folder = sweep.add(axes("baseline"), 25.0)
    report.report_sweep(sweep.root)
    whole = (sweep.root / "report" / "index.html").read_text()
    if change == "missing":
        (folder / name).unlink()
    else:
        Image.new("RGB", (16, 16), "red").save(folder / "x.png")
        (folder / name).write_bytes((folder / "x.png").read_bytes())
    assert report.load(sweep.root).damaged.tolist() == [f"{name} {change}"]
    text = report.report_sweep(sweep.root)
    assert "1 done of 1 cells" in text
    assert "sweep.retry_damaged=true computes their cells again" in text
    assert f"- {folder.name}: {name} {change}" in text
    assert ("curves.png" in text) == (name != "curves.csv")
    page = (sweep.root / "report" / "index.html").read_text()
    assert page.count("data:image/webp") == whole.count("data:image/webp") - (name == "output.png")
