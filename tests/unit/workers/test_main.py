from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.leases import Claim
from dip_stages.store.records import CHECKPOINT, read_record, write_record
from dip_stages.store.states import look
from dip_stages.workers import main
from dip_stages.workers.jobs import Order
from dip_stages.workers.main import Outcome, Stopper, compute
from dip_stages.workers.pool import Pool, visible_gpus
from dip_stages.workers.process import Worker, note_failure

if TYPE_CHECKING:
    from dip_stages.cells.identity import Cell
    from tests.conftest import MakeCell

LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1")


@pytest.fixture
def cell(make_cell: MakeCell) -> Cell:
    return make_cell("trainer.iterations=8", "runtime.threads=1")


def wait_for(path: Path, seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)


def test_an_order_is_carried_out_once(cell: Cell, tmp_path: Path) -> None:
    order = Order.of(cell, tmp_path / "a")
    assert compute(order, Stopper()).status == "done"
    before = (tmp_path / "a" / "record.json").read_bytes()
    assert compute(order, Stopper()).status == "done"
    assert (tmp_path / "a" / "record.json").read_bytes() == before
    assert look(tmp_path / "a", cell.id).state == "done"


def test_a_cell_that_another_process_has_is_left_to_it(cell: Cell, tmp_path: Path) -> None:
    with Claim(tmp_path):
        outcome = compute(Order.of(cell, tmp_path), Stopper())
        assert (outcome.status, "being computed by process" in outcome.message) == ("busy", True)
        assert note_failure(Order.of(cell, tmp_path), "SIGKILL", "gone").status == "busy"
    assert not (tmp_path / "record.json").exists()


def test_a_stop_file_stops_before_the_cell_and_within_it(cell: Cell, make_cell: MakeCell, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    stop.touch()
    assert compute(Order.of(cell, tmp_path / "a", stop=stop), Stopper()).status == "interrupted"
    assert not (tmp_path / "a").exists()
    stop.unlink()
    long = Order.of(make_cell(*LONG, "runtime.checkpoint_every=0"), tmp_path / "b", stop=stop)

    class Stopping(Stopper):
        def __call__(self) -> bool:
            if (tmp_path / "b" / CHECKPOINT).exists():
                stop.touch()
            self._every = 0
            return super().__call__()

    assert compute(long, Stopping()).status == "interrupted"
    assert look(tmp_path / "b").state == "resumable"


@pytest.mark.parametrize(("number", "text"), [(28, "No space left on device"), (30, "Read-only file system")])
def test_where_nothing_can_be_written_the_outcome_says_so(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(main, "Claim", refuse)
    outcome = compute(Order.of(cell, tmp_path), Stopper())
    assert (outcome.status, outcome.message) == ("unwritten", f"{tmp_path}: {text}")
    monkeypatch.undo()
    monkeypatch.setattr(main, "write_record", refuse)
    assert compute(Order.of(cell, tmp_path), Stopper()).status == "unwritten"
    assert not list(tmp_path.glob("*record*"))
    assert look(tmp_path).state == "to do"


def test_a_cell_that_was_taken_over_meanwhile_leaves_the_others_record(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(folder: Path, record: object) -> None:
        del record
        (folder / "claim.9").write_text("{}")

    from dip_stages.cells import runner

    monkeypatch.setattr(runner, "plot_curve", lambda path, *_: taken(path.parent, None))
    assert compute(Order.of(cell, tmp_path), Stopper()).status == "busy"
    assert not (tmp_path / "record.json").exists()


def test_a_worker_that_is_killed_leaves_a_failure_record_and_a_checkpoint(make_cell: MakeCell, tmp_path: Path) -> None:
    order = Order.of(make_cell(*LONG, "runtime.checkpoint_every=0"), tmp_path)
    process = Worker()
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(process.run(order)))
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
    assert not process.sound


def test_a_worker_whose_parent_is_gone_leaves_a_checkpoint_and_ends(make_cell: MakeCell, tmp_path: Path) -> None:
    order = Order.of(make_cell(*LONG), tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "dip_stages.workers.main"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"number": 0, "order": vars(order)}) + "\n")
    process.stdin.flush()
    wait_for(tmp_path / "progress.json")
    process.stdin.close()
    assert process.wait(main.GRACE + 2) == 0
    assert look(tmp_path).state == "resumable"
    assert process.stdout is not None
    process.stdout.close()


def test_the_pool_computes_all_and_what_a_library_prints_disturbs_nothing(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell("trainer.iterations=4", "runtime.threads=1", f"seed={seed}") for seed in range(3)]
    orders = [Order.of(cell, tmp_path / cell.folder) for cell in cells]
    assert [outcome.status for outcome in Pool(orders, workers=2, gpus=[]).run()] == ["done"] * 3
    assert {read_record(tmp_path / cell.folder).computed["threads"] for cell in cells} == {1}


def test_workers_see_the_gpus_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert visible_gpus() == ["2", "3"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


def test_a_machine_with_gpus_gives_them_in_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cell: MakeCell
) -> None:
    """A stand-in for the driver's tool; the workers are real, and say what they see."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    orders = [Order.of(make_cell("trainer.iterations=4", f"seed={seed}"), tmp_path / str(seed)) for seed in range(3)]
    pool = Pool(orders, workers=3)
    assert [place._gpu for place in pool._places] == ["0", "1", "0"]
    assert [outcome.status for outcome in pool.run()] == ["done"] * 3
    seen = {read_record(Path(order.folder)).computed["cuda_visible_devices"] for order in orders}
    assert seen == {"0", "1"}


def test_a_kept_checkpoint_does_not_make_a_new_computation_go_on_from_it(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell(
        "trainer.iterations=8", "trainer.chunk=2", "runtime.checkpoint_every=0", "runtime.keep_checkpoint=true"
    )
    assert compute(Order.of(cell, tmp_path), Stopper()).status == "done"
    assert (tmp_path / CHECKPOINT).exists()
    assert compute(Order.of(cell, tmp_path, stale=look(tmp_path).digest), Stopper()).status == "done"
    assert read_record(tmp_path).iterations["resumed_at"] == []


def test_a_failure_is_not_noted_over_a_result(cell: Cell, tmp_path: Path) -> None:
    order = Order.of(cell, tmp_path)
    compute(order, Stopper())
    assert note_failure(order, "SIGKILL", "gone").status == "done"
    assert look(tmp_path).state == "done"
    write_record(tmp_path, order.failure("SIGKILL", "gone", lost=True))
    assert look(tmp_path).state == "lost"


def test_a_worker_that_takes_too_long_to_stop_is_killed_when_asked_again(make_cell: MakeCell, tmp_path: Path) -> None:
    pool = Pool([Order.of(make_cell(*LONG), tmp_path)], workers=1, gpus=[])
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(pool.run()))
    thread.start()
    wait_for(tmp_path / "progress.json")
    (process,) = pool._places[0]._workers
    os.kill(process.pid, signal.SIGSTOP)  # it hears nothing
    pool.stop()
    assert not outcomes
    pool.stop(grace=0)
    thread.join(20)
    assert [(outcome.status, outcome.message) for outcome in outcomes] == [
        ("interrupted", "did not stop in time and was killed")
    ]
