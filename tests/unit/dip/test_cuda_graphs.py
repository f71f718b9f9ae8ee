"""CUDA graphs, tested on a CPU: a stand-in records the operations on tensors of one step, and repeats them.

Like a graph, it repeats neither a decision of Python nor the replacement of a tensor by another.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from dip_stages.cells.runner import run_cell
from dip_stages.dip import cuda_graphs
from dip_stages.dip.cuda_graphs import WARM_UP, Graphed
from tests.property.test_resume import FITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Generator, Tensor

    from dip_stages.dip.cuda_graphs import Step
    from tests.conftest import MakeCell


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation with its tensors, and the former values of those that it overwrote."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._overwritten: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for tensor in tensors_of((args, kwargs)):
                self._overwritten.setdefault(tensor.data_ptr(), (tensor, tensor.clone()))
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, tensors_of(result)))
        return result

    def undo(self) -> None:
        for tensor, before in self._overwritten.values():
            tensor.copy_(before)

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, results in self.calls:
                for result, new in zip(results, tensors_of(func(*args, **kwargs)), strict=True):
                    if result.data_ptr() != new.data_ptr():
                        result.copy_(new)


def tensors_of(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]


def stand_in(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
    state = draws.get_state()
    recorder = Recorder()
    with recorder:
        results = step()
    with torch.no_grad():
        recorder.undo()
    draws.set_state(state)
    return recorder.replay, results


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Capture on the CPU too, by the stand-in; return one element for each capture."""
    captures: list[int] = []

    def capture(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        captures.append(1)
        return stand_in(step, draws)

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    monkeypatch.setattr(cuda_graphs, "can_capture", lambda _device: True)
    return captures


def results(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "record.json").read_text())
    return {key: record[key] for key in ("metrics", "stopping", "stages", "members")} | {
        "rollbacks": record["iterations"]["rollbacks"],
        "curves": (folder / "curves.csv").read_text(),
    }


@pytest.mark.parametrize("name", FITS)
def test_a_fit_whose_iterations_are_replayed_gives_the_same_bits(
    captured: list[int], make_cell: MakeCell, tmp_path: Path, name: str
) -> None:
    settings = (*FITS[name], "trainer.iterations=24")
    run_cell(make_cell(*settings, "runtime.cuda_graphs=false"), tmp_path / "eager", threads=1)
    assert not captured
    run_cell(make_cell(*settings), tmp_path / "graphed", threads=1)
    assert captured
    assert results(tmp_path / "graphed") == results(tmp_path / "eager")


def test_a_step_is_run_a_few_times_then_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    total, called, captures = torch.zeros(()), [], []

    def step() -> tuple[Tensor, ...]:
        called.append(1)
        return (total.add_(1).clone(),)

    def capture(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        captures.append(1)
        return stand_in(step, draws)

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    graphed = Graphed(step, torch.Generator())
    assert [int(graphed()[0]) for _ in range(WARM_UP + 4)] == list(range(1, WARM_UP + 5))
    assert (len(captures), len(called)) == (1, WARM_UP + 1)
    assert graphed.why_not is None


def test_a_step_that_cannot_be_captured_continues_eagerly_and_the_log_has_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def capture(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        del step, draws
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    graphed = Graphed(lambda: (torch.ones(()),), torch.Generator())
    with caplog.at_level(logging.WARNING):
        assert [int(graphed()[0]) for _ in range(WARM_UP + 3)] == [1] * (WARM_UP + 3)
    assert len(tried) == 1
    assert graphed.why_not == "operation not permitted when stream is capturing"
    assert "without a CUDA graph: operation not permitted" in caplog.text


def test_of_a_capture_that_failed_the_first_error_is_kept_and_no_stage_tries_again(
    captured: list[int], make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    def capture(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        del step, draws
        captured.append(1)
        try:
            refused()
        finally:  # as the end of torch's capture does
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    record = run_cell(make_cell("method=staged", "trainer.iterations=48"), tmp_path, threads=1)
    assert len(captured) == 1
    assert len(record.stages) > 1
    notes = record.computed["notes"]
    assert notes == ["not captured as a CUDA graph: operation not permitted when stream is capturing"]
