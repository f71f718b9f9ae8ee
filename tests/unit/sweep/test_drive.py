from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.records import RECORD, RUNS
from dip_stages.sweep.drive import Options, run_plan
from dip_stages.workers.jobs import Job
from dip_stages.workers.main import compute
from dip_stages.workers.protocol import StopFlag
from dip_stages.workers.run_folder import job_path
from tests.unit.sweep.driving import COMMAND, Launcher, drive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dip_stages.sweep.launching import Reason
    from dip_stages.sweep.plan import Plan, PlannedCell

pytestmark = pytest.mark.usefixtures("text_alone")


@pytest.mark.usefixtures("drawn")
def test_the_same_sweep_again_runs_nothing(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = Launcher()
    assert drive(plan, launcher) == 0
    assert launcher.launches == [(0, 4)]
    first = capsys.readouterr()
    assert "4 cells to run" in first.err
    assert "[4/4]" in first.err
    assert "index.html, report.md, tables, curves.png, pictures.png, details.png, grid.png" in first.out
    assert (plan.root / "report" / "curves.png").stat().st_size > 10_000
    assert not list((plan.root / RUNS).iterdir())
    assert drive(plan, launcher) == 0
    assert launcher.launches == [(0, 4)]
    second = capsys.readouterr()
    assert "nothing to do: all 4 cells of test have a record" in second.err
    assert second.out == first.out


def test_only_what_is_left_runs_and_overwrite_runs_all(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = Launcher()
    compute(Job.of(plan.cells[0].cell, plan.cells[0].folder), StopFlag())
    assert drive(plan, launcher) == 0
    assert launcher.launches == [(0, 3)]
    assert "3 cells to run, 1 done before" in capsys.readouterr().err
    before = {p.folder: (p.folder / RECORD).stat().st_mtime_ns for p in plan.cells}
    assert drive(plan, launcher, overwrite=True) == 0
    assert launcher.launches[-1] == (0, 4)
    assert all((folder / RECORD).stat().st_mtime_ns > then for folder, then in before.items())


def test_cells_left_to_a_cluster_are_not_waited_for(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    submitted: list[Path] = []

    def launch(cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        assert first == 0
        submitted.extend(job_path(p.folder.parent, token, p.folder.name) for p in cells)
        return {}

    assert run_plan(plan, launch, Options(command=COMMAND, detach=True)) == 0
    assert "4 cells left to the cluster" in capsys.readouterr().out
    assert len(submitted) == 4
    assert all(path.exists() for path in submitted), "the jobs read them later"
    assert not (plan.root / "report").exists()


def test_failed_cells_are_listed_and_tried_again_on_request(
    diverging: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher()
    assert drive(diverging, launcher) == 1
    output = capsys.readouterr()
    assert "1 of 2 cells failed; sweep.retry_failed=true runs them again" in output.err
    assert f"{diverging.cells[1].folder.name}: the fit diverged" in output.err
    assert "1 failed" in output.out
    assert drive(diverging, launcher) == 1
    assert "nothing to do: all 2 cells of test have a record, of which 1 failed" in capsys.readouterr().err
    assert launcher.launches == [(0, 2)]
    assert drive(diverging, launcher, retry_failed=True) == 1
    assert launcher.launches == [(0, 2), (0, 1)]


def test_a_record_that_came_while_the_plan_was_made_is_kept(plan: Plan) -> None:
    cell = plan.cells[0]
    done: list[bytes] = []

    def meanwhile(job: Job) -> None:
        if job.folder == str(cell.folder) and not done:
            compute(Job.of(cell.cell, cell.folder), StopFlag())
            done.append((cell.folder / RECORD).read_bytes())

    assert drive(plan, Launcher(before=meanwhile)) == 0
    assert (cell.folder / RECORD).read_bytes() == done[0]


def test_a_broken_record_is_named_set_aside_and_done_again(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert drive(plan, Launcher()) == 0
    path = plan.cells[3].folder / RECORD
    whole = json.loads(path.read_text())
    path.write_text(path.read_text().replace('"status": "done"', '"status": "gone"'))
    launcher = Launcher()
    capsys.readouterr()
    assert drive(plan, launcher) == 0
    assert launcher.launches == [(0, 1)]
    assert f"{path}: got 'gone'" in capsys.readouterr().err
    assert path.with_name(f"{RECORD}.broken").exists()
    assert json.loads(path.read_text())["metrics"] == whole["metrics"]


def test_a_report_that_cannot_be_written_is_named_and_costs_no_cell(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("dip_stages.report.write.write_page", full)
        assert drive(plan, Launcher()) == 1
    error = capsys.readouterr().err
    report = plan.root / "report"
    assert f"{report}: not complete: No space left on device" in error
    assert f"python -m dip_stages.report {plan.root} writes it" in error
    assert drive(plan, Launcher()) == 0
    assert all(planned.look().state == "done" for planned in plan.cells)


def test_a_cell_of_which_a_file_is_missing_or_altered_runs_again_on_request(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher()
    drive(plan, launcher)
    first, second = (planned.folder for planned in plan.cells[:2])
    whole = (second / "curves.csv").read_bytes()
    (first / "output.png").unlink()
    (second / "curves.csv").write_bytes(whole.replace(b"1", b"2"))
    capsys.readouterr()
    assert drive(plan, launcher) == 0
    shown = capsys.readouterr().out
    assert f"- {first.name}: output.png missing\n- {second.name}: curves.csv altered" in shown
    assert len(launcher.launches) == 1
    assert drive(plan, launcher, retry_damaged=True) == 0
    assert launcher.launches[1:] == [(0, 2)]
    assert f"{first.name}: output.png missing; run again" in capsys.readouterr().err
    assert (second / "curves.csv").read_bytes() == whole
    assert all(not planned.look(files=True).damaged for planned in plan.cells)


@pytest.mark.parametrize("what", ["a file", "a folder for the record", "a link to itself"])
def test_what_stands_in_the_place_of_a_cell_costs_the_others_nothing(
    plan: Plan, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    launcher = Launcher()
    drive(plan, launcher)
    folder = plan.cells[1].folder
    if what == "a folder for the record":
        (folder / RECORD).unlink()
        (folder / RECORD).mkdir()
    else:
        shutil.rmtree(folder)
        folder.write_text("a file") if what == "a file" else folder.symlink_to(folder)
    capsys.readouterr()
    assert drive(plan, launcher) == 0
    assert launcher.launches[1:] == [(0, 1)]
    assert f"{folder / RECORD}: cannot be read: " in capsys.readouterr().err
    assert all(planned.look().state == "done" for planned in plan.cells)
    assert list(plan.root.rglob("*.broken"))
