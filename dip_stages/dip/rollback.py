"""Going back to the last good state when the loss jumps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dip_stages.errors import DivergenceError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rollback", "copied"]


def copied(state: Any) -> Any:
    """Return a copy of tensors and of the containers that hold them; a fraction of the time of ``copy.deepcopy``."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(copied, state))
    return state


class Rollback:
    """Keeps the last good state and decides when to return to it.

    Ulyanov et al., 2018, published code: when the PSNR against the target falls by more than 5 dB, the last weights
    are loaded again. Here the loss in dB is watched at the ends of chunks, NaN or infinity counts as a jump, and the
    chunk is run again with fresh jitter, so that every fit ends after as many good iterations as were planned.

    Args:
        take: Returns the state to keep: tensors, plain values, and containers of them; it is copied here.
        put: Puts such a state back.
        jump_db: Rise of the loss that counts as a jump, in dB.
        attempts: Rollbacks in a row before giving up.
    """

    def __init__(
        self, take: Callable[[], dict[str, Any]], put: Callable[[dict[str, Any]], None], jump_db: float, attempts: int
    ) -> None:
        self._take, self._put = take, put
        self._jump_db, self._attempts = jump_db, attempts
        self._kept: dict[str, Any] | None = None
        self._reference = math.inf
        self._in_a_row = 0
        self.count = 0

    def restart(self, iteration: int) -> None:
        """Take the present state for good and forget the reference loss: a stage begins, its loss is another."""
        self._reference = math.inf
        self._keep(iteration)

    def accepts(self, iteration: int, loss: float) -> bool:
        """Look at the loss at the end of a chunk.

        Returns:
            Whether it is good. If not, the module has been put back to where the chunk began, to run it again.

        Raises:
            DivergenceError: After too many rollbacks in a row; the module is then in its last good state.
        """
        if math.isfinite(loss) and loss <= self._reference * 10 ** (self._jump_db / 10):
            self._reference = loss
            self._in_a_row = 0
            self._keep(iteration)
            return True
        assert self._kept is not None  # noqa: S101 - restart() comes first
        self._put(copied(self._kept["good"]))
        self.count += 1
        self._in_a_row += 1
        if self._in_a_row > self._attempts:
            raise DivergenceError(iteration, loss, self._kept["iteration"])
        return False

    def saved(self) -> dict[str, Any] | None:
        """Return the last good state and what goes with it, for :meth:`resume`; None before there is one.

        It is the state at an edge, whatever was tried and rolled back since: all of that happens again.
        """
        return self._kept

    def resume(self, saved: dict[str, Any]) -> None:
        """Go on from what :meth:`saved` returned; the module has been put there by its owner."""
        self._kept = saved
        self.count, self._reference = saved["count"], saved["reference"]

    def _keep(self, iteration: int) -> None:
        # In one go: an interruption from the keyboard may come between any two statements.
        self._kept = {
            "good": copied(self._take()),
            "iteration": iteration,
            "count": self.count,
            "reference": self._reference,
        }
