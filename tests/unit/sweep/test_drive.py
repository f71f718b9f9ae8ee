from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.store.leases import Lease
from dip_stages.store.records import RECORD, read_record
from dip_stages.sweep.drive import Options, run_plan
from dip_stages.sweep.launching import Reason
from dip_stages.sweep.plan import Plan, PlannedCell, make_plan
from dip_stages.workers.jobs import Job, read_job
from dip_stages.workers.main import compute
from dip_stages.workers.protocol import Outcome, StopFlag
from dip_stages.workers.run_folder import job_path
from dip_stages.workers.slurm_queue import RUNS, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.conftest import Compose

pytestmark = pytest.mark.usefixtures("text_alone")

COMMAND = "python -m dip_stages -m sweep=test"


class Launcher:
    """Computes jobs here and stores its launches; those whose first number is in ``broken`` raise instead."""

    def __init__(self, broken: Sequence[int] = (), before: Callable[[Job], object] = lambda _: None) -> None:
        self.launches: list[tuple[int, int]] = []
        self.outcomes: list[Outcome] = []
        self.broken = list(broken)
        self.before = before

    def __call__(self, cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        self.launches.append((first, len(cells)))
        if first in self.broken:
            self.broken.remove(first)
            raise RuntimeError("no such partition")
        for planned in cells:
            job = read_job(job_path(planned.folder.parent, token, planned.folder.name))
            self.before(job)
            self.outcomes.append(compute(job, StopFlag()))
        return {}


@pytest.fixture
def plan(composing: Compose, tmp_path: Path) -> Plan:
    points = [(f"method={m}", "trainer.iterations=4", f"seed={s}") for m in ("baseline", "staged") for s in (0, 1)]
    return make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))


@pytest.fixture
def diverging(composing: Compose, tmp_path: Path) -> Plan:
    points = [("method=baseline", "trainer.iterations=4", f"method.input_scale={scale}") for scale in ("0.1", "1e39")]
    return make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))


def drive(plan: Plan, launcher: Launcher, **options: Any) -> int:
    return run_plan(plan, launcher, Options(command=COMMAND, wait=0.05, **options))


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


def test_cells_that_the_launcher_loses_are_launched_again(plan: Plan) -> None:
    launcher = Launcher(broken=(0,))
    assert drive(plan, launcher, cells_per_launch=3) == 0
    assert launcher.launches == [(0, 3), (3, 1), (0, 3)]


def test_cells_that_the_launcher_loses_twice_have_a_failure_record_with_the_reason_and_run_the_next_time(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher(broken=(0, 0))
    assert drive(plan, launcher, cells_per_launch=3) == 1
    output = capsys.readouterr()
    assert "3 of 4 cells failed" in output.err
    assert "RuntimeError: no such partition" in output.err
    assert "3 failed, 1 done of 4 cells" in output.out
    assert read_record(plan.cells[0].folder).lost
    assert drive(plan, Launcher()) == 0


def test_a_cell_whose_job_alone_ended_is_lost_at_once_for_that_reason(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    cancelled = plan.cells[1].folder.name
    launcher = Launcher()

    def launch(cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        launcher([planned for planned in cells if planned.folder.name != cancelled], first, token)
        return {cancelled: Reason("Slurm job 7_1 ended: CANCELLED", final=True)}

    assert run_plan(plan, launch, Options(wait=0.05)) == 1
    assert launcher.launches == [(0, 3)]
    assert f"{cancelled}: Slurm job 7_1 ended: CANCELLED" in capsys.readouterr().err
    assert read_record(plan.cells[1].folder).lost
    assert drive(plan, Launcher()) == 0


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


def test_what_waits_in_a_clusters_queue_is_not_launched_again_while_something_else_is(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in for Slurm's queue has two cells for a while, in which a third is lost and launched again."""
    queued = [planned.folder.name for planned in plan.cells[:2]]
    launcher = Launcher(broken=(0,))
    answers: list[dict[str, str]] = []
    asked_since = 0

    def cells(_: object) -> dict[str, str]:
        nonlocal asked_since
        asked_since += len(launcher.launches) > 1
        answers.append(dict.fromkeys(queued, "Slurm job 7, PENDING") if asked_since < 20 else {})
        return answers[-1]

    monkeypatch.setattr(Queue, "cells", property(cells))
    assert drive(plan, launcher) == 0
    assert "2 cells are in the queue of the cluster, the first as Slurm job 7, PENDING" in capsys.readouterr().err
    assert launcher.launches == [(0, 2), (0, 2), (0, 2)], "two that are lost, the same again, and the two of the queue"
    assert answers[-1] == {}


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


def test_failed_cells_are_tried_again_as_often_as_asked_within_one_command(diverging: Plan) -> None:
    launcher = Launcher()
    assert drive(diverging, launcher, retries=2) == 1
    assert launcher.launches == [(0, 2), (0, 1), (0, 1)]


def test_a_cell_of_a_process_that_died_fails_as_lost_and_runs_the_next_time(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = plan.cells[1].folder

    def die(job: Job) -> None:
        if job.folder == str(lost):
            lease = lost / "lease.1"
            lost.mkdir(exist_ok=True)
            Lease(lost)
            lease.write_text(json.dumps(json.loads(lease.read_text()) | {"start": "of another process"}))
            raise RuntimeError("its node went down")

    launcher = Launcher(before=die)
    assert drive(plan, launcher, cells_per_launch=1) == 1
    assert len(launcher.outcomes) == 3
    record = read_record(lost)
    assert record.lost
    assert record.error is not None
    assert record.error["message"].endswith("died in the middle of the cell")
    assert record.cell["axes"] == plan.cells[1].cell.axes
    capsys.readouterr()
    assert drive(plan, Launcher()) == 0
    assert f"{lost.name}: process {os.getpid()}" in capsys.readouterr().err


def test_cells_that_another_driver_has_are_waited_for(plan: Plan) -> None:
    other = plan.cells[2]
    other.folder.mkdir(parents=True)
    lease = Lease(other.folder)
    lease.__enter__()
    launcher = Launcher()

    def finish() -> None:
        deadline = time.monotonic() + 120
        while len(launcher.outcomes) < 3 and time.monotonic() < deadline:  # until the driver has found the lease
            time.sleep(0.1)
        lease.__exit__(None, None, None)
        compute(Job.of(other.cell, other.folder), StopFlag())

    thread = threading.Thread(target=finish)
    thread.start()
    assert drive(plan, launcher) == 0
    thread.join()
    assert [outcome.status for outcome in launcher.outcomes[:4]] == ["done", "done", "busy", "done"]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_the_rest_reports_and_prints_how_to_resume(
    plan: Plan, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    count = 0

    def interrupt(_: Job) -> None:
        nonlocal count
        count += 1
        if count == 2:
            os.kill(os.getpid(), number)

    launcher = Launcher(before=interrupt)
    assert drive(plan, launcher) == 128 + number
    assert [outcome.status for outcome in launcher.outcomes] == ["done", "interrupted", "interrupted", "interrupted"]
    output = capsys.readouterr()
    assert output.err.endswith(f"interrupted: 3 of 4 cells are left. To resume:\n  {COMMAND}\n")
    assert "Written to" in output.out
    assert drive(plan, Launcher()) == 0


def test_a_launcher_that_does_not_return_is_left_behind(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dip_stages.sweep.interrupts.GRACE", 0)

    def hang(_: Job) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    begun = time.monotonic()
    assert drive(plan, Launcher(before=hang)) == 130
    assert time.monotonic() - begun < 30


def test_jobs_on_a_cluster_are_left_alone_on_request(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(job: Job) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail(f"{job.id} was waited for")

    assert drive(plan, Launcher(before=interrupt), leave=True) == 130
    assert "jobs on the cluster keep running" in capsys.readouterr().err
    (run,) = (plan.root / RUNS).iterdir()
    assert not (run / "stop").exists()
    assert len(list(run.glob("*.json"))) == 4


def test_a_report_that_cannot_be_written_is_named_and_costs_no_cell(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.root.joinpath("report").write_text("a file where a folder is to be")
    drive(plan, Launcher())
    assert "no report could be written: " in capsys.readouterr().err
    assert all(planned.look().state == "done" for planned in plan.cells)
