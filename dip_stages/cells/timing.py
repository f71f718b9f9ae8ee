"""How long a cell has taken, over all attempts to compute it. Torch-free."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Attempts"]


class Attempts:
    """What is known of a cell over all attempts to compute it; made when one begins.

    Attributes:
        started: When this attempt began.
        resumed_at: Iterations at which the fit went on from a checkpoint.
        notes: What went wrong without costing the cell.
    """

    def __init__(self) -> None:
        self.started, self._clock = datetime.now(UTC), time.perf_counter()
        self.resumed_at: list[int] = []
        self.notes: list[str] = []
        self._before = self._fit_before = self._fit_resumed = 0.0
        self._fit_begun: float | None = None
        self._fits = 0  # at this moment
        self._counting = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds spent so far."""
        return self._before + time.perf_counter() - self._clock

    @property
    def fit_seconds(self) -> float:
        """Seconds spent in the fit so far, in all attempts."""
        return self._fit_before + (time.perf_counter() - self._fit_begun if self._fit_begun else 0.0)

    def rate(self, iteration: int) -> float | None:
        """Return the iterations per second of the fit, or fits, that go on, none of them from before a checkpoint."""
        here = iteration - (self.resumed_at[-1] if self.resumed_at else 0)
        seconds = self.fit_seconds - self._fit_resumed
        return here / seconds if seconds else None

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Count the time within as that of the fit; of fits side by side, from the first to the last."""
        with self._counting:
            self._fits += 1
            self._fit_begun = self._fit_begun or time.perf_counter()
        try:
            yield
        finally:
            with self._counting:
                self._fits -= 1
                if not self._fits:
                    self._fit_before, self._fit_begun = self.fit_seconds, None

    def saved(self) -> dict[str, Any]:
        """Return what to save, for :meth:`go_on`."""
        return {"seconds": self.seconds, "fit_seconds": self.fit_seconds, "resumed_at": self.resumed_at}

    def go_on(self, saved: dict[str, Any], iteration: int) -> None:
        """Go on from what :meth:`saved` returned, at an iteration."""
        self._before, self._fit_before = saved["seconds"], saved["fit_seconds"]
        self._fit_resumed = self._fit_before
        self.resumed_at = [*saved["resumed_at"], iteration]
