from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from dip_stages.cells.flops import flops
from dip_stages.sweep.listing import listing
from dip_stages.sweep.plan import Plan, PlannedCell, make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Compose


@pytest.fixture
def plan(composing: Compose, tmp_path: Path) -> Plan:
    points = [
        ("method=baseline", "arch=unet", "trainer.lr=0.01"),
        ("method=staged", "arch=unet", "trainer.lr=0.01", "noise.beta_max=0.01"),
        ("method=staged", "arch=unet", "trainer.lr=0.02", "trainer.iterations=1200", "noise.beta_max=0.01"),
    ]
    return make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))


def columns(text: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith("state")).split()


def test_a_line_a_cell_with_what_differs_and_what_is_shared_above(plan: Plan) -> None:
    states = ("done", "to do", "resumable")
    text = listing(list(zip(plan.cells, states, strict=True)))
    shared, header, *rows, _, _ = text.splitlines()
    assert shared.startswith("in every cell: arch unet, beta_max 0.01,")
    assert "trainer" not in shared
    assert columns(text)[:3] == ["state", "method", "protocol"]
    assert columns(text)[-5:] == ["trainer.lr", "trainer.iterations", "iterations", "GFLOP", "folder"]
    for row, state, planned in zip(rows, states, plan.cells, strict=True):
        assert row.startswith(state)
        assert row.endswith(f"  {planned.folder.name}")
        assert row.split()[-3:-1] == [str(planned.iterations), f"{flops(planned.cell.config) / 1e9:,.2f}"]
        for name in ("method", "scheduler", "trainer.lr"):
            assert row[header.index(name) - 1] == " " != row[header.index(name)]


def test_what_is_left_is_counted_and_timed(plan: Plan) -> None:
    costs = [flops(planned.cell.config) for planned in plan.cells]
    text = listing(list(zip(plan.cells, ("to do", "done", "failed"), strict=True)), seconds_per_flop=60 / costs[0])
    assert text.splitlines()[-2] == "3 cells: 1 done, 1 failed, 1 to do"
    assert text.splitlines()[-1].startswith(f"left to compute: at most {costs[0] / 1e9:,.2f} GFLOP, about 1 min 0 s")
    without = listing(list(zip(plan.cells, ("to do", "lost", "running"), strict=True)))
    assert without.splitlines()[-2] == "3 cells: 1 running, 1 lost, 1 to do"
    assert without.splitlines()[-1] == f"left to compute: at most {sum(costs) / 1e9:,.2f} GFLOP"
    assert "about" not in listing([(plan.cells[0], "done")], seconds_per_flop=1.0)


def test_options_of_one_network_are_told_apart_and_other_names_of_an_axis_say_nothing_new(
    composing: Compose, tmp_path: Path
) -> None:
    points = [
        (f"arch={a}", "beta_max=b0.02", f"data.name={p}") for a in ("unet", "unet_published") for p in ("camera",)
    ]
    plan = make_plan("test", tmp_path, points, lambda overrides: composing(*overrides))
    assert columns(listing([(planned, "to do") for planned in plan.cells])) == [
        *("state", "arch=", "iterations", "TFLOP", "folder")
    ]
    others = [("loss=mse", "data.name=camera"), ("loss=perceptual", "data.name=coffee")]
    plan = make_plan("test", tmp_path, others, lambda overrides: composing(*overrides))
    assert columns(listing([(planned, "to do") for planned in plan.cells])) == [
        *("state", "loss", "image", "iterations", "TFLOP", "folder")
    ]


def test_ten_thousand_cells_take_no_second(plan: Plan) -> None:
    first = plan.cells[0]
    cells = [(PlannedCell(first.cell, (f"seed={seed}",), first.folder), "to do") for seed in range(10_000)]
    began = time.process_time()
    text = listing(cells)
    assert time.process_time() - began < 1
    assert len(text.splitlines()) == 10_004
    assert "10000 cells: 10000 to do" in text
