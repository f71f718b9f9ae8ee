from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.leases import Lease
from dip_stages.store.records import CHECKPOINT, read_record
from dip_stages.store.states import Look, look
from dip_stages.workers import batches
from dip_stages.workers.batches import Batch, batches_of
from dip_stages.workers.jobs import Job, read_job
from dip_stages.workers.main import compute
from dip_stages.workers.protocol import StopFlag

if TYPE_CHECKING:
    from tests.conftest import MakeCell


@pytest.fixture
def written(make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the jobs of three small cells."""
    monkeypatch.chdir(tmp_path)
    paths = []
    for seed in range(3):
        cell = make_cell("trainer.iterations=4", f"seed={seed}")
        job = Job.of(cell, tmp_path / f"cell{seed}", stop=tmp_path / "stop")
        job.write(tmp_path / f"cell{seed}.json")
        paths.append(str(tmp_path / f"cell{seed}.json"))
    return paths


def test_jobs_are_batched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = batches_of([f"/run/b0.{number}.json" for number in range(5)], 2, 3, together=4, preemptible=True)
    assert [batch.cells for batch in made] == [["b0.0", "b0.1"], ["b0.2", "b0.3"], ["b0.4"]]
    settings = {(batch.workers, batch.together, batch.cwd, batch.preemptible) for batch in made}
    assert settings == {(3, 4, str(tmp_path), True)}


def test_a_batch_computes_what_has_no_record_and_returns_the_outcome_of_each(
    written: list[str], tmp_path: Path
) -> None:
    done = read_job(Path(written[0]))
    compute(done, StopFlag())
    before = read_record(tmp_path / "cell0")
    Path(written[1]).unlink()
    batch: Batch = pickle.loads(pickle.dumps(batches_of(written, 3, 2)[0]))  # noqa: S301 - as a cluster does
    outcomes = batch()
    assert {name: outcome["status"] for name, outcome in outcomes.items()} == {
        "cell0": "done", "cell1": "interrupted", "cell2": "done",
    }  # fmt: skip
    assert read_record(tmp_path / "cell0").timing == before.timing, "it was not computed again"


def test_a_batch_of_a_run_that_was_stopped_begins_nothing(written: list[str], tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    outcomes = batches_of(written, 3, 1)[0]()
    assert {outcome["status"] for outcome in outcomes.values()} == {"interrupted"}
    assert not list(tmp_path.glob("cell*/"))


def test_a_cell_that_a_dying_worker_still_has_is_waited_for(
    written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look is before a worker finds the lease, the others after; the lease is released at the fourth."""
    (tmp_path / "cell0").mkdir()
    lease = Lease(tmp_path / "cell0")
    seen: list[str] = []

    def looked(folder: Path, identity: str) -> Look:
        found = look(folder, identity)
        seen.append(found.state)
        if len(seen) == 4:
            lease.__exit__(None, None, None)
        return found

    monkeypatch.setattr(batches, "look", looked)
    monkeypatch.setattr(batches, "_POLL_SECONDS", 0.01)
    with lease:
        outcomes = batches_of(written[:1], 1, 1)[0]()
    assert outcomes["cell0"]["status"] == "done"
    assert [state == "running" for state in seen] == [True] * 4 + [False]


def test_before_a_job_goes_back_into_the_queue_its_cells_leave_checkpoints(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = make_cell("trainer.iterations=100000", "trainer.chunk=4", "runtime.checkpoint_every=null")
    Job.of(cell, tmp_path / "cell").write(tmp_path / "cell.json")
    batch = batches_of([str(tmp_path / "cell.json")], 1, 1)[0]
    seen = []

    def on_signal(*_: object) -> None:
        seen.append(batch.checkpoint())

    before = signal.signal(signal.SIGUSR2, on_signal)
    try:
        threading.Thread(target=_signal_when, args=(tmp_path / "cell" / "progress.json",), daemon=True).start()
        outcomes = batch()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert outcomes["cell"]["status"] == "interrupted"
    assert (tmp_path / "cell" / CHECKPOINT).exists()
    (again,) = seen
    assert again.function == batch


def _signal_when(there: Path) -> None:
    while not there.exists():
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGUSR2)
