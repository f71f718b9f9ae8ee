"""Several cells at once in one process, as on a GPU; on a CPU they are no faster, and give the bits of cells alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.cells.runner import run_cell
from dip_stages.store.records import CHECKPOINT, read_record
from dip_stages.store.states import look
from dip_stages.workers.jobs import Job
from dip_stages.workers.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from dip_stages.workers.slot import WorkerSlot
    from tests.conftest import MakeCell

SMALL = ("trainer.iterations=24", "runtime.threads=1")
LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1", "runtime.checkpoint_every=0")


def jobs_of(cells: list[Cell], root: Path, code: dict[int, str] | None = None) -> list[Job]:
    jobs = [Job.of(cell, root / cell.folder) for cell in cells]
    return [Job(**{**vars(job), "code": (code or {}).get(number, job.code)}) for number, job in enumerate(jobs)]


def results(folder: Path) -> dict[str, Any]:
    record = read_record(folder)
    kept = {key: getattr(record, key) for key in ("metrics", "stopping", "stages", "members")}
    return kept | {name: (folder / name).read_bytes() for name in ("curves.csv", "result.png")}


def test_they_have_the_bits_of_cells_alone_and_a_log_each(make_cell: MakeCell, tmp_path: Path) -> None:
    kinds = [
        ("arch=unet", "loss=perceptual"),
        ("arch=dncnn", "protocol=recorrupted", "trainer.rollback.jump_db=0.01", "trainer.rollback.attempts=200"),
        ("arch=resnet", "method=aseqdip"),
        ("method=baseline", "ensemble.members=2", "logger=csv"),
        ("method=nlm",),
    ]
    cells = [make_cell(*kind, *SMALL) for kind in kinds]
    outcomes = Pool(jobs_of(cells, tmp_path), workers=1, gpus=[], together=3).run()
    assert [outcome.status for outcome in outcomes] == ["done"] * len(cells)
    for cell in cells:
        alone = tmp_path / "alone" / cell.folder
        run_cell(cell, alone, threads=1)
        record = read_record(tmp_path / cell.folder)
        assert record.computed["together"] == 3
        assert read_record(alone).computed["together"] == 1
        if cell.config.competitor is None:
            assert results(tmp_path / cell.folder) == results(alone)
        others = {other.id for other in cells} - {cell.id}
        log = (tmp_path / cell.folder / "dip_stages.log").read_text()
        assert not any(other in log for other in others)


def test_a_cell_after_which_its_process_is_not_usable_costs_the_others_nothing(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [make_cell(*SMALL, f"seed={seed}") for seed in range(5)]
    outcomes = Pool(jobs_of(cells, tmp_path, {1: "other code"}), workers=1, gpus=[], together=2).run()
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done", "done", "done"]
    assert "changed between the plan and this worker's start" in outcomes[1].message


def test_with_a_process_that_dies_its_cells_are_lost_and_the_next_process_computes_the_rest(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [*(make_cell(*LONG, f"seed={seed}") for seed in range(2)), make_cell(*SMALL)]
    pool = Pool(jobs_of(cells, tmp_path), workers=1, gpus=[], together=2)
    found: list[Any] = []
    running = threading.Thread(target=lambda: found.extend(pool.run()))
    running.start()
    wait_until_begun(tmp_path, cells[:2])
    os.kill(worker_of(pool._slots[0]), signal.SIGKILL)
    running.join()
    assert [outcome.status for outcome in found] == ["failed", "failed", "done"]
    for cell in cells[:2]:
        record = read_record(tmp_path / cell.folder)
        assert record.lost
        assert record.error is not None
        assert "killed by signal 9" in record.error["message"]


@pytest.mark.parametrize("asked_by", ["the driver", "a signal"])
def test_when_asked_to_stop_each_leaves_a_checkpoint(make_cell: MakeCell, tmp_path: Path, asked_by: str) -> None:
    cells = [make_cell(*LONG, f"seed={seed}") for seed in range(2)]
    pool = Pool(jobs_of(cells, tmp_path), workers=1, gpus=[], together=2)
    found: list[Any] = []
    running = threading.Thread(target=lambda: found.extend(pool.run()))
    running.start()
    wait_until_begun(tmp_path, cells)
    if asked_by == "the driver":
        pool.stop()
    else:
        os.kill(worker_of(pool._slots[0]), signal.SIGTERM)
    running.join(60)
    assert [outcome.status for outcome in found] == ["interrupted"] * 2
    assert {look(tmp_path / cell.folder).state for cell in cells} == {"resumable"}


def wait_until_begun(root: Path, cells: list[Cell]) -> None:
    end = time.monotonic() + 100
    while not all((root / cell.folder / CHECKPOINT).exists() for cell in cells):
        assert time.monotonic() < end
        time.sleep(0.05)


def worker_of(slot: WorkerSlot) -> int:
    assert slot._worker is not None
    return slot._worker.pid
