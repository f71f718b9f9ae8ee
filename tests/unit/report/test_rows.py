"""Sweeps of an older version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

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
