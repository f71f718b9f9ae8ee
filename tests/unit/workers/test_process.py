from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.records import CHECKPOINT, read_record, write_record
from dip_stages.store.states import look
from dip_stages.workers.jobs import Job
from dip_stages.workers.main import compute
from dip_stages.workers.process import Worker, note_failure
from dip_stages.workers.protocol import StopFlag
from tests.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from tests.conftest import MakeCell

LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1")


@pytest.fixture
def cell(make_cell: MakeCell) -> Cell:
    return make_cell("trainer.iterations=8", "runtime.threads=1")


def test_a_worker_that_is_killed_leaves_a_failure_record_and_a_checkpoint(make_cell: MakeCell, tmp_path: Path) -> None:
    job = Job.of(make_cell(*LONG, "runtime.checkpoint_every=0"), tmp_path)
    process = Worker()
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(process.run(job)))
    thread.start()
    wait_for(tmp_path / CHECKPOINT)
    os.kill(process.pid, signal.SIGKILL)
    thread.join()
    process.close()
    record = read_record(tmp_path)
    assert record.lost
    assert record.error is not None
    assert record.error["message"].startswith("the worker was killed by signal 9 (SIGKILL): out of memory, or killed")
    assert (tmp_path / CHECKPOINT).exists()
    assert not process.usable


def test_a_failure_is_not_noted_over_a_result(cell: Cell, tmp_path: Path) -> None:
    job = Job.of(cell, tmp_path)
    compute(job, StopFlag())
    assert note_failure(job, "SIGKILL", "gone").status == "done"
    assert look(tmp_path).state == "done"
    write_record(tmp_path, job.failure("SIGKILL", "gone", lost=True))
    assert look(tmp_path).state == "lost"
