from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.runner import run_cell
from dip_stages.sweep.drive import run_plan
from dip_stages.sweep.plan import Plan, PlannedCell, make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import Compose


class Launcher:
    """Runs cells here and remembers them; batches in ``broken`` raise instead."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.batches: list[tuple[int, int]] = []
        self.broken = broken

    def __call__(self, cells: Sequence[PlannedCell], first: int) -> None:
        self.batches.append((first, len(cells)))
        if first in self.broken:
            raise RuntimeError("no such partition")
        for planned in cells:
            run_cell(planned.cell, planned.folder, threads=1)


@pytest.fixture
def plan(composing: Compose, tmp_path: Path) -> Plan:
    points = [(f"method={m}", "trainer.iterations=4", f"seed={s}") for m in ("baseline", "staged") for s in (0, 1)]
    return make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))


def drive(
    plan: Plan, launcher: Launcher, batch: int | None = None, *, retry: bool = False, overwrite: bool = False
) -> int:
    return run_plan(plan, launcher, batch_size=batch, retry_failed=retry, overwrite=overwrite)


def test_the_same_sweep_again_runs_nothing(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = Launcher()
    assert drive(plan, launcher) == 0
    assert launcher.batches == [(0, 4)]
    first = capsys.readouterr()
    assert "4 cells to run" in first.err
    assert "[4/4]" in first.err
    assert drive(plan, launcher) == 0
    assert launcher.batches == [(0, 4)]
    second = capsys.readouterr()
    assert "nothing to do: all 4 cells of test have a record" in second.err
    assert second.out == first.out


def test_only_what_is_left_runs_and_overwrite_runs_all(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = Launcher()
    run_cell(plan.cells[0].cell, plan.cells[0].folder, threads=1)
    assert drive(plan, launcher) == 0
    assert launcher.batches == [(0, 3)]
    assert "3 cells to run, 1 done before" in capsys.readouterr().err
    assert drive(plan, launcher, overwrite=True) == 0
    assert launcher.batches[-1] == (0, 4)


def test_a_batch_that_the_launcher_loses_does_not_stop_the_next_and_its_cells_show(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher(broken=(0,))
    assert drive(plan, launcher, 3) == 1
    assert launcher.batches == [(0, 3), (3, 1)]
    said = capsys.readouterr()
    assert "3 of 4 cells left no record; the same command runs them" in said.err
    assert "3 missing, 1 done of 4 cells" in said.out
    assert drive(plan, Launcher()) == 0


def test_failed_cells_are_listed_and_tried_again_on_request(
    composing: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [("method=baseline", "trainer.iterations=4", f"method.input_scale={scale}") for scale in ("0.1", "1e39")]
    plan = make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))
    launcher = Launcher()
    assert drive(plan, launcher) == 1
    said = capsys.readouterr()
    assert "1 of 2 cells failed; sweep.retry_failed=true runs them again" in said.err
    assert plan.cells[1].folder.name in said.err
    assert "1 failed" in said.out
    assert drive(plan, launcher) == 1
    assert launcher.batches == [(0, 2)]
    assert drive(plan, launcher, retry=True) == 1
    assert launcher.batches == [(0, 2), (0, 1)]
