"""A fit that is interrupted and resumed gives the bits of one that is not."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dip_stages.cells import runner
from dip_stages.cells.runner import run_cell
from dip_stages.dip.module import DIPModule
from dip_stages.dip.stages import Chunks, Stage, StagePlan
from dip_stages.errors import Interrupted
from dip_stages.store.records import CHECKPOINT, Record
from tests import strategies as our

if TYPE_CHECKING:
    from collections.abc import Callable

    from dip_stages.cells.identity import Cell
    from tests.conftest import MakeCell

SMALL = {"unet": "arch.scales=2", "dncnn": "arch.depth=3", "resnet": "arch.blocks=2"}
READ = ("monitors.rules.es_wmv.window=3", "monitors.rules.es_wmv.patience=5", "monitors.rules.es_emv.patience=5")
FITS = {
    "staged": ("trainer.chunk=4", "trainer.precision=float32"),
    "fixed noise": ("trainer.chunk=4", "method.input=fixed_noise", "trainer.precision=bfloat16"),
    "noise and previous": ("trainer.chunk=3", "method.input=noise_and_previous", "arch=dncnn"),
    "average carried": ("trainer.chunk=4", "method.carry=average", "trainer.layout=contiguous", "arch=resnet"),
    "baseline": ("trainer.chunk=4", "method=baseline"),
    # A loss that may not rise by even a hundredth of a decibel jumps all the time.
    "rolled back": (
        "trainer.chunk=2",
        "trainer.rollback.jump_db=0.01",
        "trainer.rollback.attempts=9",
        "trainer.lr=0.1",
    ),
    "perceptual": ("trainer.chunk=4", "loss=perceptual"),
    "read by every rule": ("trainer.chunk=4", "stopping=none", "monitors=all", "method.input=observed", *READ),
    "recorrupted": (
        "trainer.chunk=4",
        "protocol=recorrupted",
        "protocol.last_alpha=1",
        "stopping.decay=0.5",
        "stopping.patience=3",
        "stopping=residual",
    ),
    "stopped, of a window": (
        "trainer.chunk=4",
        "average=window",
        "average.window=7",  # by which the stop lags 3 iterations
        "stopping.tau=4",
        "trainer.lr=0.05",
    ),
    "held out": (
        "trainer.chunk=4",
        "trainer.held_out=0.2",
        "stopping=held_out",
        "stopping.patience=4",
        "method.input=noise_and_previous",
        "trainer.lr=0.05",
    ),
    "ensemble": ("trainer.chunk=4", "ensemble.members=2", "method=baseline", "arch=dncnn"),
    "members at once": (
        "trainer.chunk=4",
        "ensemble.members=3",
        "runtime.members_together=2",
        "method=baseline",
        "arch=dncnn",
        "stopping.tau=4",
    ),
    "aseqdip": ("trainer.chunk=4", "method=aseqdip", "method.refresh=3"),
}
FITS = {
    name: (*fit, next((small for arch, small in SMALL.items() if f"arch={arch}" in fit), SMALL["unet"]))
    if name != "rolled back"  # as often as it may be
    else fit
    for name, fit in FITS.items()
}
ITERATIONS = 24
CELLS: dict[str, Cell] = {}


def stopping_after(calls: int) -> Callable[[], bool]:
    left = iter(range(calls))
    return lambda: next(left, None) is None


def result_of(record: Record, folder: Path) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    kept = {
        key: values[key]
        for key in ("status", "cell", "settings", "metrics", "stopping", "members", "stages", "observation")
    }
    kept["rollbacks"] = record.iterations["rollbacks"]
    kept["files"] = {
        name: (folder / name).read_bytes() for name in ("curves.csv", "output.png", "average.png", "result.png")
    }
    kept["log"] = (folder / "logs" / "metrics.csv").read_bytes()
    return kept


@functools.cache
def uninterrupted(cell_id: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return result_of(run_cell(CELLS[cell_id], Path(folder), threads=1), Path(folder))


@pytest.mark.parametrize("fit", FITS)
@settings(deadline=None, max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.integers(0, 2 * ITERATIONS + 6), min_size=1, max_size=3))
def test_an_interrupted_fit_gives_the_same_bits(make_cell: MakeCell, fit: str, calls: list[int]) -> None:
    common = (f"trainer.iterations={ITERATIONS}", "scheduler.stages=4")
    cell = make_cell(*common, *FITS[fit])
    in_turn = make_cell(*common, *(setting for setting in FITS[fit] if not setting.startswith("runtime.")))
    CELLS[cell.id] = in_turn  # which has the same id
    expected = uninterrupted(cell.id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in calls:
            with suppress(Interrupted):
                run_cell(cell, folder, threads=1, should_stop=stopping_after(number))
        record = run_cell(cell, folder, threads=1)
        found = result_of(record, folder)
        assert [key for key in expected if found[key] != expected[key]] == []
        assert not (folder / CHECKPOINT).exists()


@given(budgets=our.stage_budgets, size=st.integers(1, 300), data=st.data())
def test_the_chunks_from_an_edge_are_the_rest_of_all_chunks(budgets: list[int], size: int, data: st.DataObject) -> None:
    image = torch.zeros(1)
    plan = StagePlan(tuple(Stage(0.1, budget, image, image) for budget in budgets), "fixed_noise", sees_clean=False)
    chunks = list(Chunks(plan, size))
    done = data.draw(st.integers(0, len(chunks)))
    edge = chunks[done - 1].stop if done else 0
    assert list(Chunks(plan, size, start=edge)) == chunks[done:]


def test_the_rolled_back_fit_above_does_roll_back(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell(f"trainer.iterations={ITERATIONS}", "scheduler.stages=4", *FITS["rolled back"])
    assert run_cell(cell, tmp_path, threads=1).iterations["rollbacks"]


def test_a_fit_killed_after_its_last_edge_needs_no_further_iteration(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell("trainer.iterations=8", "trainer.chunk=4", "scheduler.stages=2")
    expected = result_of(run_cell(cell, tmp_path / "a", threads=1), tmp_path / "a")
    from dip_stages.dip import callbacks

    class AtTheVeryEnd(callbacks.Checkpointer):
        def on_train_batch_end(self, *arguments: Any) -> None:
            del arguments
            self._save()

    monkeypatch.setattr("dip_stages.cells.fits.Checkpointer", AtTheVeryEnd)

    def killed(*_: object) -> None:
        raise OSError("no record")

    with monkeypatch.context() as patched:
        patched.setattr(runner, "write_record", killed)
        with pytest.raises(OSError, match="no record"):
            run_cell(cell, tmp_path / "b", threads=1)
    monkeypatch.setattr(DIPModule, "_iterate", killed)
    record = run_cell(cell, tmp_path / "b", threads=1)
    assert record.iterations["resumed_at"] == [8]
    assert result_of(record, tmp_path / "b") == expected
