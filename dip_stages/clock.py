"""Actions that are due once in so many seconds: messages, checkpoints, checks for a file."""

from __future__ import annotations

import time

__all__ = ["Every"]


class Every:
    """Whether an action is due that happens at most once in so many seconds. The time counts from its construction.

    Args:
        seconds: Time between two actions; 0 for always.
        now: Whether the first one is due at once.

    Example:
        >>> each_hour = Every(3600, now=True)
        >>> each_hour.due(), each_hour.due()
        (True, False)
    """

    def __init__(self, seconds: float, *, now: bool = False) -> None:
        self.seconds = seconds
        self._last = float("-inf") if now else time.monotonic()

    def due(self) -> bool:
        """Return whether it is due; if so, the time counts from now."""
        if time.monotonic() - self._last < self.seconds:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Count the time from now, as after an action that was not due."""
        self._last = time.monotonic()
