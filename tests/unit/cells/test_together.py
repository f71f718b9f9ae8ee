"""Several cells at once in one process, as on a GPU; on a CPU they gain nothing, and give the bits of cells alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.cells.runner import run_cell
from dip_stages.dip.module import DIPModule
from dip_stages.errors import Interrupted
from dip_stages.store.records import CHECKPOINT, read_record
from dip_stages.store.states import look
from dip_stages.workers.jobs import Order
from dip_stages.workers.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from dip_stages.workers.process import Workplace
    from tests.conftest import MakeCell

SMALL = ("trainer.iterations=24", "runtime.threads=1")
LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1", "runtime.checkpoint_every=0")


def orders_of(cells: list[Cell], root: Path, code: dict[int, str] | None = None) -> list[Order]:
    orders = [Order.of(cell, root / cell.folder) for cell in cells]
    return [
        Order(**{**vars(order), "code": (code or {}).get(number, order.code)}) for number, order in enumerate(orders)
    ]


def figures(folder: Path) -> dict[str, Any]:
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
    outcomes = Pool(orders_of(cells, tmp_path), workers=1, gpus=[], together=3).run()
    assert [outcome.status for outcome in outcomes] == ["done"] * len(cells)
    for cell in cells:
        alone = tmp_path / "alone" / cell.folder
        run_cell(cell, alone, threads=1)
        record = read_record(tmp_path / cell.folder)
        assert record.computed["together"] == 3
        assert read_record(alone).computed["together"] == 1
        if cell.config.reference is None:
            assert figures(tmp_path / cell.folder) == figures(alone)
        others = {other.id for other in cells} - {cell.id}
        log = (tmp_path / cell.folder / "dip_stages.log").read_text()
        assert not any(other in log for other in others)


def test_one_that_spoils_its_process_costs_the_others_nothing(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell(*SMALL, f"seed={seed}") for seed in range(5)]
    outcomes = Pool(orders_of(cells, tmp_path, {1: "other code"}), workers=1, gpus=[], together=2).run()
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done", "done", "done"]
    assert "changed between the plan and this worker's start" in outcomes[1].message


def test_with_a_process_that_dies_its_cells_are_lost_and_the_next_one_goes_on(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [*(make_cell(*LONG, f"seed={seed}") for seed in range(2)), make_cell(*SMALL)]
    pool = Pool(orders_of(cells, tmp_path), workers=1, gpus=[], together=2)
    found: list[Any] = []
    running = threading.Thread(target=lambda: found.extend(pool.run()))
    running.start()
    wait_until_begun(tmp_path, cells[:2])
    os.kill(worker_of(pool._places[0]), signal.SIGKILL)
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
    pool = Pool(orders_of(cells, tmp_path), workers=1, gpus=[], together=2)
    found: list[Any] = []
    running = threading.Thread(target=lambda: found.extend(pool.run()))
    running.start()
    wait_until_begun(tmp_path, cells)
    if asked_by == "the driver":
        pool.stop()
    else:
        os.kill(worker_of(pool._places[0]), signal.SIGTERM)
    running.join(60)
    assert [outcome.status for outcome in found] == ["interrupted"] * 2
    assert {look(tmp_path / cell.folder).state for cell in cells} == {"resumable"}


def wait_until_begun(root: Path, cells: list[Cell]) -> None:
    end = time.monotonic() + 100
    while not all((root / cell.folder / CHECKPOINT).exists() for cell in cells):
        assert time.monotonic() < end
        time.sleep(0.05)


def worker_of(place: Workplace) -> int:
    assert place._worker is not None
    return place._worker.pid


@pytest.mark.parametrize(("together", "lost"), [(1, False), (2, True)])
def test_a_gpu_whose_memory_others_filled_loses_a_cell_and_fails_none(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, lost: bool
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DIPModule, "_iterate", full)
    record = run_cell(make_cell(*SMALL), tmp_path, threads=1, together=together)
    assert record.status == "failed"
    assert record.lost is lost


def test_members_of_an_ensemble_at_once_have_the_bits_of_one_after_another(make_cell: MakeCell, tmp_path: Path) -> None:
    few = (*SMALL, "method=baseline", "trainer.chunk=4", "trainer.lr=0.05", "stopping.tau=4", "ensemble.members=3")
    told: list[tuple[int, int, float, float]] = []
    in_turn = run_cell(make_cell(*few), tmp_path / "in turn", threads=1)
    at_once = run_cell(
        make_cell(*few, "runtime.members_together=2"),
        tmp_path / "at once",
        threads=1,
        listener=lambda *how_far: told.append(how_far),
    )
    assert (in_turn.cell, in_turn.iterations) == (at_once.cell, at_once.iterations)
    assert figures(tmp_path / "in turn") == figures(tmp_path / "at once")
    logs = [(tmp_path / name / "logs" / "metrics.csv").read_bytes() for name in ("in turn", "at once")]
    assert logs[0] == logs[1]
    assert [record.computed["members_together"] for record in (in_turn, at_once)] == [1, 2]
    assert [total for _, total, *_ in told] == [72] * len(told)
    iterations = [iteration for iteration, *_ in told]
    assert sorted(iterations) == iterations


def test_members_that_were_fitted_at_once_go_on_in_turn(make_cell: MakeCell, tmp_path: Path) -> None:
    few = (*SMALL, "trainer.chunk=4", "stopping=none", "method=baseline", "ensemble.members=3")
    run_cell(make_cell(*few), tmp_path / "undisturbed", threads=1)
    asked = threading.Event()
    with pytest.raises(Interrupted):
        run_cell(
            make_cell(*few, "runtime.members_together=3", "runtime.checkpoint_every=0"),
            tmp_path / "disturbed",
            threads=1,
            listener=lambda iteration, *_: asked.set() if iteration >= 30 else None,
            stopping=asked.is_set,
        )
    record = run_cell(make_cell(*few), tmp_path / "disturbed", threads=1)
    logs = [(tmp_path / name / "logs" / "metrics.csv").read_bytes() for name in ("disturbed", "undisturbed")]
    assert logs[0] == logs[1]
    assert 24 <= record.iterations["resumed_at"][0] < 72
    assert figures(tmp_path / "disturbed") == figures(tmp_path / "undisturbed")


def test_a_member_that_diverges_fails_the_cell_and_stops_the_others(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell(*LONG, "method=baseline", "ensemble.members=3", "runtime.members_together=2")
    descend, modules = DIPModule._descend, {}

    def one_diverges(module: DIPModule) -> Any:
        modules[module.seed] = module
        output, loss = descend(module)
        return output, loss * (float("nan") if module.seed != cell.config.seed and module.iteration else 1.0)

    monkeypatch.setattr(DIPModule, "_descend", one_diverges)
    record = run_cell(cell, tmp_path, threads=1)
    assert record.error is not None
    assert record.error["type"] == "DivergenceError"
    assert record.error["last_good"]["iteration"] == 2
    assert len(modules) == 2  # the third did not begin
    left = torch.load(tmp_path / record.error["last_good"]["weights"], weights_only=True)
    (diverged,) = [module for seed, module in modules.items() if seed != cell.config.seed]
    assert all((diverged.network.state_dict()[name] == value).all() for name, value in left.items())
    assert look(tmp_path).state == "failed"
