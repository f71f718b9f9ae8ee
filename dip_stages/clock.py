"""What is due now and then: messages, checkpoints, looks at a disk."""

from __future__ import annotations

import time

__all__ = ["Every"]


class Every:
    """Whether something is due that happens at most once in so many seconds; made when the time begins to count.

    Args:
        seconds: Between two times; 0 for always.
        now: Whether it is due at once.

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
        """Count from now, as after something that happened out of turn."""
        self._last = time.monotonic()
