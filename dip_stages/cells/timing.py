"""How long a cell has taken, over all attempts to compute it. Torch-free."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stopwatch"]


class Stopwatch:
    """Measures a cell and, within it, its fits; begins with an attempt, and continues from earlier ones."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._before = self._fit_before = self._fit_resumed = 0.0
        self._resumed_at = 0
        self._fit_began: float | None = None
        self._running = 0  # fits at this moment
        self._counting = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds in all attempts."""
        return self._before + time.perf_counter() - self._began

    @property
    def fit_seconds(self) -> float:
        """Seconds of the fits in all attempts; fits that run side by side count once."""
        return self._fit_before + (time.perf_counter() - self._fit_began if self._fit_began else 0.0)

    def rate(self, iteration: int) -> float | None:
        """Return the iterations per second of this attempt, None before there is a fit."""
        seconds = self.fit_seconds - self._fit_resumed
        return (iteration - self._resumed_at) / seconds if seconds else None

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Count the time inside as that of a fit."""
        with self._counting:
            self._running += 1
            self._fit_began = self._fit_began or time.perf_counter()
        try:
            yield
        finally:
            with self._counting:
                self._running -= 1
                if not self._running:
                    self._fit_before, self._fit_began = self.fit_seconds, None

    def resume(self, seconds: float, fit_seconds: float, iteration: int) -> None:
        """Add the time of the earlier attempts, whose last checkpoint is of ``iteration``."""
        self._before, self._fit_before = seconds, fit_seconds
        self._fit_resumed, self._resumed_at = fit_seconds, iteration
