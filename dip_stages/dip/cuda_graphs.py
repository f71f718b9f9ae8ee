"""An iteration as a CUDA graph: one launch instead of hundreds, each of which takes the host longer than the GPU.

A graph reads and writes the very tensors that it was captured with. Code around a captured step therefore copies new
values into those tensors and never puts other tensors in their place.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import torch

from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    Step = Callable[[], tuple[Tensor, ...]]

__all__ = ["WARM_UP", "Graphed", "StagedStep", "can_capture", "capture"]

WARM_UP = 3
"""Iterations that run eagerly before a capture, in which libraries choose their algorithms and allocate memory."""

log = logging.getLogger(__name__)

_CAPTURING = threading.Lock()  # "only one capture may be underway at a time in the process"


class StagedStep:
    """The step of a fit, captured again in each stage, since each stage has other tensors.

    Args:
        step: As that of :class:`Graphed`.

    Attributes:
        why_eager: Why the step could not be captured; None if it was, or was never to be.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._graphed: Graphed | None = None
        self.why_eager: str | None = None

    def __call__(self) -> tuple[Tensor, ...]:
        """Run the step and return its results."""
        return self._step() if self._graphed is None else self._graphed()

    def begin_stage(self, draws: Generator, *, wanted: bool) -> None:
        """Forget the last stage's capture; capture again if ``wanted`` and unless a capture has failed."""
        self.release()
        if wanted and self.why_eager is None and can_capture(draws.device):
            self._graphed = Graphed(self._step, draws)

    def release(self) -> None:
        """Release the captured step, which holds an iteration's memory; keep why there was none."""
        if self._graphed is not None:
            self.why_eager = self.why_eager or self._graphed.why_not
        self._graphed = None


class Graphed:
    """A step that runs eagerly a few times, is then captured, and replayed from there.

    A step that cannot be captured continues eagerly, and the log has the reason.

    Args:
        step: Works on tensors that keep their place, waits for nothing, and returns tensors, which the next call
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
        """Run the step and return its results."""
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
        except RuntimeError as error:  # raised by CUDA, cuDNN and torch for a step that they cannot capture
            self.why_not = _first_cause(error)
            log.warning("iterations run eagerly, without a CUDA graph: %s", self.why_not)


def can_capture(device: torch.device) -> bool:
    """Return whether steps can be captured on a device, and run on if that fails.

    After a failed capture, torch before 2.13 leaves the generator unusable.
    """
    return device.type == "cuda" and tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)


def _first_cause(error: BaseException) -> str:
    """Return the first error's first line: the end of a failed capture raises an error of its own."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return first_line(error, default=type(error).__name__)


def capture(step: Step, draws: Generator) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
    """Capture a step, without running it, on the present stream, which must not be the default one.

    Returns:
        A function that replays the step, and the tensors that hold the results of a replay.

    Raises:
        RuntimeError: If the step cannot be captured.
    """
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(draws)
    # thread_local: other threads fit on streams of their own, which are neither captured nor restricted.
    with (
        _CAPTURING,
        torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"),
    ):
        results = step()
    return graph.replay, results
