from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.store.records import read_record
from dip_stages.workers.jobs import Job
from dip_stages.workers.pool import Pool, visible_gpus
from tests.waiting import wait_for

if TYPE_CHECKING:
    import pytest

    from dip_stages.workers.protocol import Outcome
    from tests.conftest import MakeCell

LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1")


def test_the_pool_computes_all_and_what_a_library_prints_disturbs_nothing(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell("trainer.iterations=4", "runtime.threads=1", f"seed={seed}") for seed in range(3)]
    jobs = [Job.of(cell, tmp_path / cell.folder) for cell in cells]
    assert [outcome.status for outcome in Pool(jobs, workers=2, gpus=[]).run()] == ["done"] * 3
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
    """A stand-in for the driver's tool; the workers are real, and record which GPU they see."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    jobs = [Job.of(make_cell("trainer.iterations=4", f"seed={seed}"), tmp_path / str(seed)) for seed in range(3)]
    pool = Pool(jobs, workers=3)
    assert [slot._gpu for slot in pool._slots] == ["0", "1", "0"]
    assert [outcome.status for outcome in pool.run()] == ["done"] * 3
    seen = {read_record(Path(job.folder)).computed["cuda_visible_devices"] for job in jobs}
    assert seen == {"0", "1"}


def test_a_worker_that_takes_too_long_to_stop_is_killed_when_asked_again(make_cell: MakeCell, tmp_path: Path) -> None:
    pool = Pool([Job.of(make_cell(*LONG), tmp_path)], workers=1, gpus=[])
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(pool.run()))
    thread.start()
    wait_for(tmp_path / "progress.json")
    (process,) = pool._slots[0]._workers
    os.kill(process.pid, signal.SIGSTOP)  # no handler of its own runs
    pool.stop()
    assert not outcomes
    pool.stop(grace=0)
    thread.join(20)
    assert [(outcome.status, outcome.message) for outcome in outcomes] == [
        ("interrupted", "did not stop in time and was killed")
    ]
