"""Return to the last good state when the loss jumps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dip_stages.dip.state import copied
from dip_stages.errors import DivergenceError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rollback"]


class Rollback:
    """Keeps the last good state and decides when to return to it.

    In the published code of Ulyanov et al., 2018, the last weights are loaded again when the PSNR against the target
    falls by more than 5 dB. Here the loss in dB is compared at the ends of chunks, NaN and infinity count as jumps, and
    the chunk is run again with new jitter, so that every fit ends after as many good iterations as were planned.

    Args:
        take: Returns the state to keep: tensors, plain values, and containers of them; it is copied here.
        restore: Restores such a state.
        jump_db: Rise of the loss that counts as a jump, in dB.
        attempts: Rollbacks in a row before the fit fails.

    Attributes:
        count: Rollbacks so far.
    """

    def __init__(
        self,
        take: Callable[[], dict[str, Any]],
        restore: Callable[[dict[str, Any]], None],
        jump_db: float,
        attempts: int,
    ) -> None:
        self._take, self._restore = take, restore
        self._jump_db, self._attempts = jump_db, attempts
        self._kept: dict[str, Any] | None = None
        self._last_loss = math.inf
        self._in_a_row = 0
        self.count = 0

    def restart(self, iteration: int) -> None:
        """Keep the present state as good, and forget the last loss: a stage begins, whose loss is another."""
        self._last_loss = math.inf
        self._keep(iteration)

    def accepts(self, iteration: int, loss: float) -> bool:
        """Check the loss at the end of a chunk.

        Returns:
            Whether it is good. If not, the state at the beginning of the chunk has been restored.

        Raises:
            DivergenceError: After too many rollbacks in a row; the last good state has been restored.
        """
        if math.isfinite(loss) and loss <= self._last_loss * 10 ** (self._jump_db / 10):
            self._last_loss = loss
            self._in_a_row = 0
            self._keep(iteration)
            return True
        assert self._kept is not None  # noqa: S101 - restart() comes first
        self._restore(copied(self._kept["good"]))
        self.count += 1
        self._in_a_row += 1
        if self._in_a_row > self._attempts:
            raise DivergenceError(iteration, loss, self._kept["iteration"])
        return False

    def saved(self) -> dict[str, Any] | None:
        """Return the last good state, its iteration, count and loss, for :meth:`resume`; None before there is one.

        Rollbacks after that state are not in it: a fit that resumes repeats them.
        """
        return self._kept

    def resume(self, saved: dict[str, Any]) -> None:
        """Continue from what :meth:`saved` returned; the caller has restored the state itself."""
        self._kept = saved
        self.count, self._last_loss = saved["count"], saved["loss"]

    def _keep(self, iteration: int) -> None:
        # One assignment: an interruption from the keyboard may come between any two statements.
        self._kept = {
            "good": copied(self._take()),
            "iteration": iteration,
            "count": self.count,
            "loss": self._last_loss,
        }
