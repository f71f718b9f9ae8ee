"""Members of an ensemble fitted at once, as on a GPU, give the bits of members fitted one after another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.cells.runner import run_cell
from dip_stages.dip.module import DIPModule
from dip_stages.errors import Interrupted
from dip_stages.store.records import read_record
from dip_stages.store.states import look

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell

SMALL = ("trainer.iterations=24", "runtime.threads=1")
LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1", "runtime.checkpoint_every=0")


def results(folder: Path) -> dict[str, Any]:
    record = read_record(folder)
    kept = {key: getattr(record, key) for key in ("metrics", "stopping", "stages", "members")}
    return kept | {name: (folder / name).read_bytes() for name in ("curves.csv", "result.png")}


def test_members_of_an_ensemble_at_once_have_the_bits_of_one_after_another(make_cell: MakeCell, tmp_path: Path) -> None:
    few = (*SMALL, "method=baseline", "trainer.chunk=4", "trainer.lr=0.05", "stopping.tau=4", "ensemble.members=3")
    reports: list[tuple[int, int, float, float]] = []
    in_turn = run_cell(make_cell(*few), tmp_path / "in turn", threads=1)
    at_once = run_cell(
        make_cell(*few, "runtime.members_together=2"),
        tmp_path / "at once",
        threads=1,
        on_progress=lambda *how_far: reports.append(how_far),
    )
    assert (in_turn.cell, in_turn.iterations) == (at_once.cell, at_once.iterations)
    assert results(tmp_path / "in turn") == results(tmp_path / "at once")
    logs = [(tmp_path / name / "logs" / "metrics.csv").read_bytes() for name in ("in turn", "at once")]
    assert logs[0] == logs[1]
    assert [record.computed["members_together"] for record in (in_turn, at_once)] == [1, 2]
    assert [total for _, total, *_ in reports] == [72] * len(reports)
    iterations = [iteration for iteration, *_ in reports]
    assert sorted(iterations) == iterations


def test_members_that_were_fitted_at_once_resume_in_turn(make_cell: MakeCell, tmp_path: Path) -> None:
    few = (*SMALL, "trainer.chunk=4", "stopping=none", "method=baseline", "ensemble.members=3")
    run_cell(make_cell(*few), tmp_path / "undisturbed", threads=1)
    asked = threading.Event()
    with pytest.raises(Interrupted):
        run_cell(
            make_cell(*few, "runtime.members_together=3", "runtime.checkpoint_every=0"),
            tmp_path / "disturbed",
            threads=1,
            on_progress=lambda iteration, *_: asked.set() if iteration >= 30 else None,
            should_stop=asked.is_set,
        )
    record = run_cell(make_cell(*few), tmp_path / "disturbed", threads=1)
    logs = [(tmp_path / name / "logs" / "metrics.csv").read_bytes() for name in ("disturbed", "undisturbed")]
    assert logs[0] == logs[1]
    assert 24 <= record.iterations["resumed_at"][0] < 72
    assert results(tmp_path / "disturbed") == results(tmp_path / "undisturbed")


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
    assert record.error["last_good"] is not None
    assert record.error["last_good"]["iteration"] == 2
    assert len(modules) == 2  # the third did not begin
    left = torch.load(tmp_path / record.error["last_good"]["weights"], weights_only=True)
    (diverged,) = [module for seed, module in modules.items() if seed != cell.config.seed]
    assert all((diverged.network.state_dict()[name] == value).all() for name, value in left.items())
    assert look(tmp_path).state == "failed"
