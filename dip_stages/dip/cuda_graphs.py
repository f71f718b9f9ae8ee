"""An iteration as a CUDA graph: one launch instead of hundreds, each of which costs the host more time than the GPU.

A graph reads and writes the very tensors that it was captured with, so whoever uses one puts new values into the
tensors that are there, and never other tensors in their place.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    Step = Callable[[], tuple[Tensor, ...]]

__all__ = ["WARM_UP", "Graphed", "capture", "supported"]

WARM_UP = 3
"""Iterations that run eagerly before a capture: libraries choose their algorithms and take their memory in them."""

log = logging.getLogger(__name__)

_CAPTURING = threading.Lock()  # "only one capture may be underway at a time in the process"


class Graphed:
    """A step that is run eagerly a few times, then captured, and replayed from then on.

    A step that cannot be captured goes on eagerly, and the log says why.

    Args:
        step: Works on tensors that stay where they are, waits for nothing, and returns tensors, which the next call
            overwrites.
        draws: The generator that it draws from.

    Attributes:
        why_not: Why the step could not be captured; None if it was, or has not been tried yet.
    """

    def __init__(self, step: Step, draws: Generator) -> None:
        self._step, self._draws = step, draws
        self._calls = 0
        self._replay: Callable[[], object] | None = None
        self._results: tuple[Tensor, ...] = ()
        self.why_not: str | None = None

    def __call__(self) -> tuple[Tensor, ...]:
        """Run the step and return what it returns."""
        self._calls += 1
        if self._calls > WARM_UP and self._replay is None and self.why_not is None:
            self._capture()
        if self._replay is None:
            return self._step()
        self._replay()
        return self._results

    def _capture(self) -> None:
        try:
            self._replay, self._results = capture(self._step, self._draws)
        except RuntimeError as error:  # what CUDA, cuDNN and torch say of a step that they cannot capture
            self.why_not = _cause(error)
            log.warning("iterations run eagerly, without a CUDA graph: %s", self.why_not)


def supported() -> bool:
    """Return whether this torch goes on soundly after a capture that failed; older ones leave the generator stuck."""
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)


def _cause(error: BaseException) -> str:
    """Return in a line what happened first: ending a capture that failed raises an error of its own."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def capture(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
    """Capture a step, without running it, on the present stream, which must not be the default one.

    Returns:
        What replays it, and the tensors that a replay leaves its results in.

    Raises:
        RuntimeError: If it cannot be captured.
    """
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(draws)
    # Of other threads, which fit on streams of their own, nothing is captured and nothing is forbidden.
    with (
        _CAPTURING,
        torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"),
    ):
        results = step()
    return graph.replay, results
