from __future__ import annotations

import json
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.leases import Lease
from dip_stages.store.records import read_record
from dip_stages.sweep.drive import Options, run_plan
from dip_stages.sweep.launching import Reason
from dip_stages.workers.jobs import Job
from dip_stages.workers.main import compute
from dip_stages.workers.process import note_failure
from dip_stages.workers.protocol import StopFlag
from dip_stages.workers.slurm_queue import Queue
from tests.leasing import end, held_elsewhere
from tests.unit.sweep.driving import Launcher, drive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dip_stages.sweep.plan import Plan, PlannedCell

pytestmark = pytest.mark.usefixtures("text_alone")


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
    assert "3 of 4 cells failed, lost to something outside them; the same command runs them again:" in output.err
    assert "sweep.retry_failed" not in output.err
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
            taken_by_another(lost)
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


def taken_by_another(folder: Path) -> Path:
    """Make the lease of another process of this machine, which has ended, in a cell's folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    Lease(folder)
    path = max(folder.glob("lease.*"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start": "of another process"}))
    return path


class Waiting:
    """A launcher to which one cell is busy as often as given, since another driver has it, which then dies."""

    def __init__(self, folder: Path, deaths: int, *, records: bool) -> None:
        self.folder, self.deaths, self.records = folder, deaths, records
        self.own = Launcher()
        self.launched = 0

    def __call__(self, cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        free = [planned for planned in cells if planned.folder != self.folder]
        if len(free) == len(cells) or not self.deaths:
            self.launched += len(free) < len(cells)
            return self.own(cells, first, token)
        self.own(free, first, token)
        self.launched += 1
        self.deaths -= 1
        taken_by_another(self.folder)
        if self.records:
            (planned,) = (planned for planned in cells if planned.folder == self.folder)
            stale = planned.look().digest
            note_failure(
                Job.of(planned.cell, self.folder, stale=stale), "SIGKILL", f"killed by signal 9, {self.deaths}"
            )
        return {self.folder.name: Reason("being computed by process 7 on node7", busy=True)}


@pytest.mark.parametrize("records", [False, True], ids=["its driver died too", "its driver wrote a record"])
def test_a_cell_that_was_lost_with_another_drivers_process_is_taken_over(
    plan: Plan, capsys: pytest.CaptureFixture[str], *, records: bool
) -> None:
    launcher = Waiting(plan.cells[2].folder, 1, records=records)
    assert run_plan(plan, launcher, Options(wait=0.05)) == 0
    assert launcher.launched == 2
    error = capsys.readouterr().err
    assert re.search(rf"{plan.cells[2].folder.name}: .*(died in the middle|signal 9).*; taken over \(1 of 3\)", error)
    assert all(planned.look().state == "done" for planned in plan.cells)


@pytest.mark.parametrize("records", [False, True], ids=["its drivers died too", "its drivers wrote records"])
def test_a_cell_that_takes_every_process_along_is_not_taken_over_for_ever(
    plan: Plan, capsys: pytest.CaptureFixture[str], *, records: bool
) -> None:
    launcher = Waiting(plan.cells[2].folder, 100, records=records)
    assert run_plan(plan, launcher, Options(wait=0.05)) == 1
    assert launcher.launched == 4
    assert "taken over (3 of 3)" in capsys.readouterr().err
    assert read_record(plan.cells[2].folder).lost


def test_a_cell_that_a_waiting_driver_sees_die_is_taken_over(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """As where a whole tree of processes is killed: no record is written, and the launcher said nothing."""
    other = plan.cells[2].folder
    other.mkdir(parents=True)
    process = held_elsewhere(other)
    launcher = Launcher()
    threading.Timer(3, end, [process]).start()
    assert drive(plan, launcher) == 0
    assert f"process {process.pid} on " in capsys.readouterr().err
    assert sum(outcome.status == "done" for outcome in launcher.outcomes) == 4
