from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.records import RUNS
from tests.unit.sweep.driving import COMMAND, Launcher, drive

if TYPE_CHECKING:
    from dip_stages.sweep.plan import Plan
    from dip_stages.workers.jobs import Job

pytestmark = pytest.mark.usefixtures("text_alone")


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


def test_where_no_cell_has_ended_there_is_no_report(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first = plan.cells[0].folder

    def interrupt(job: Job) -> None:
        if job.folder == str(first):
            os.kill(os.getpid(), signal.SIGINT)

    assert drive(plan, Launcher(before=interrupt)) == 130
    output = capsys.readouterr()
    assert output.err.endswith(f"interrupted: 4 of 4 cells are left. To resume:\n  {COMMAND}\n")
    assert output.out == ""
    assert not (plan.root / "report").exists()


def test_an_interruption_of_the_report_is_one(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dip_stages.sweep.summary.gather", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        drive(plan, Launcher())


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
