from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dip_stages.cells import runner
from dip_stages.dip.module import DIPModule
from dip_stages.store.leases import Lease
from dip_stages.store.records import CHECKPOINT, read_record
from dip_stages.store.states import look
from dip_stages.workers import main
from dip_stages.workers.jobs import Job
from dip_stages.workers.main import compute
from dip_stages.workers.process import note_failure
from dip_stages.workers.protocol import GRACE, StopFlag
from tests.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from tests.conftest import MakeCell

LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1")


@pytest.fixture
def cell(make_cell: MakeCell) -> Cell:
    return make_cell("trainer.iterations=8", "runtime.threads=1")


def test_a_job_is_computed_once(cell: Cell, tmp_path: Path) -> None:
    job = Job.of(cell, tmp_path / "a")
    assert compute(job, StopFlag()).status == "done"
    before = (tmp_path / "a" / "record.json").read_bytes()
    assert compute(job, StopFlag()).status == "done"
    assert (tmp_path / "a" / "record.json").read_bytes() == before
    assert look(tmp_path / "a", cell.id).state == "done"


def test_a_cell_that_another_process_has_is_left_to_it(cell: Cell, tmp_path: Path) -> None:
    with Lease(tmp_path):
        outcome = compute(Job.of(cell, tmp_path), StopFlag())
        assert (outcome.status, "being computed by process" in outcome.message) == ("busy", True)
        assert note_failure(Job.of(cell, tmp_path), "SIGKILL", "gone").status == "busy"
    assert not (tmp_path / "record.json").exists()


def test_a_stop_file_stops_before_the_cell_and_within_it(cell: Cell, make_cell: MakeCell, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    stop.touch()
    assert compute(Job.of(cell, tmp_path / "a", stop=stop), StopFlag()).status == "interrupted"
    assert not (tmp_path / "a").exists()
    stop.unlink()
    long = Job.of(make_cell(*LONG, "runtime.checkpoint_every=0"), tmp_path / "b", stop=stop)

    class Stopping(StopFlag):
        def __call__(self) -> bool:
            if (tmp_path / "b" / CHECKPOINT).exists():
                stop.touch()
            self._check.seconds = 0
            return super().__call__()

    assert compute(long, Stopping()).status == "interrupted"
    assert look(tmp_path / "b").state == "resumable"


@pytest.mark.parametrize(("number", "text"), [(28, "No space left on device"), (30, "Read-only file system")])
def test_where_nothing_can_be_written_the_outcome_says_so(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(main, "Lease", refuse)
    outcome = compute(Job.of(cell, tmp_path), StopFlag())
    assert (outcome.status, outcome.message) == ("unwritten", f"{tmp_path}: {text}")
    monkeypatch.undo()
    monkeypatch.setattr(runner, "write_record", refuse)
    assert compute(Job.of(cell, tmp_path), StopFlag()).status == "unwritten"
    assert not list(tmp_path.glob("*record*"))
    assert look(tmp_path).state == "to do"


def test_a_cell_that_was_taken_over_meanwhile_leaves_the_others_record(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(folder: Path, record: object) -> None:
        del record
        (folder / "lease.9").write_text("{}")

    from dip_stages.cells import outputs

    monkeypatch.setattr(outputs, "plot_curve", lambda path, *_: taken(path.parent, None))
    assert compute(Job.of(cell, tmp_path), StopFlag()).status == "busy"
    assert not (tmp_path / "record.json").exists()


def test_a_worker_whose_parent_is_gone_leaves_a_checkpoint_and_ends(make_cell: MakeCell, tmp_path: Path) -> None:
    job = Job.of(make_cell(*LONG), tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "dip_stages.workers.main"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"number": 0, "job": vars(job)}) + "\n")
    process.stdin.flush()
    wait_for(tmp_path / "progress.json")
    process.stdin.close()
    assert process.wait(GRACE + 2) == 0
    assert look(tmp_path).state == "resumable"
    assert process.stdout is not None
    process.stdout.close()


def test_a_new_computation_does_not_resume_from_a_kept_checkpoint(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell(
        "trainer.iterations=8", "trainer.chunk=2", "runtime.checkpoint_every=0", "runtime.keep_checkpoint=true"
    )
    assert compute(Job.of(cell, tmp_path), StopFlag()).status == "done"
    assert (tmp_path / CHECKPOINT).exists()
    assert compute(Job.of(cell, tmp_path, stale=look(tmp_path).digest), StopFlag()).status == "done"
    assert read_record(tmp_path).iterations["resumed_at"] == []


@pytest.mark.parametrize("when", ["in the middle", "at the end"])
def test_one_that_was_suspended_until_another_had_its_cell_writes_nothing_any_more(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The other has the cell's folder from the instant on at which an iteration, or the last one, ends."""
    last = {"in the middle": 11, "at the end": 39}[when]
    iterate = DIPModule._iterate
    left: dict[str, bytes] = {}

    def suspended(self: DIPModule, number: int) -> None:
        iterate(self, number)
        if self.iteration >= last and not left:
            (tmp_path / "lease.9").write_text("{}")
            left.update((str(path), path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file())

    monkeypatch.setattr(DIPModule, "_iterate", suspended)
    often = ("trainer.iterations=40", "trainer.chunk=2", "runtime.checkpoint_every=0", "logger=csv")
    assert compute(Job.of(make_cell(*often), tmp_path), StopFlag(), in_worker=True).status == "busy"
    assert left
    assert {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == left
