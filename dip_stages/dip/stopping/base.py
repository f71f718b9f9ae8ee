"""What all stopping rules share: the interface, and keeping the iteration of the lowest statistic.

A stopping rule chooses which iteration of a fit to keep. It observes every iteration and changes nothing, so any number
of rules can monitor one fit, and each chooses what it would choose alone. Its state is on the device; only the caller
that reads :attr:`Rule.decided` waits for the device. A new stage has another target or input, and statistics of the
outputs jump there: the docstring of each rule describes what it resets. Only
:class:`~dip_stages.dip.stopping.oracle.Oracle` needs the clean image; it is for analysis, and :attr:`Rule.needs_clean`
is true for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["Choice", "Lowest", "Rule", "View", "mean_weights"]


@dataclass(frozen=True)
class View:
    """What a rule observes of an iteration.

    Attributes:
        output: The iteration's raw output, ``(1, C, H, W)`` float32.
        average: The average of the outputs so far, the same shape.
        target: What the stage is fitted to, the same shape; for a recorrupted stage, before its noise is subtracted.
        last_of_stage: Whether the stage ends with this iteration.
        forward: Returns the network's output for its present input plus a perturbation of the input's shape (None for
            no perturbation), in float32; it leaves the network unchanged.
    """

    output: Tensor
    average: Tensor
    target: Tensor
    last_of_stage: bool
    forward: Callable[[Tensor | None], Tensor]


@dataclass(frozen=True)
class Choice:
    """What a rule chose.

    Attributes:
        iteration: The iteration kept, counted from 1.
        spent: The iteration at which the rule decided: where a fit that it governs ends.
        decided: Whether it decided; if not, it has what it had kept when the fit ended.
        output: The raw output of the iteration kept.
        average: The average at that iteration.
        statistic: The lowest value of what the rule compares, in its unit; None of a rule that compares nothing.
    """

    iteration: int
    spent: int
    decided: bool
    output: Tensor
    average: Tensor
    statistic: float | None = None


class Rule:
    """A stopping rule. A subclass implements :meth:`_update`, which calls :meth:`_keep` and :meth:`_decide`.

    Attributes:
        needs_clean: Whether the rule uses the clean image, which does not exist outside of experiments.
        sigma: The noise level that the rule uses, on the [0, 1] scale; None if it uses none.
    """

    needs_clean = False
    sigma: float | None = None

    def __init__(self) -> None:
        self._counts = {"iterations": 0}  # on the host: reading them waits for no device
        self._state: dict[str, Tensor] = {}

    @property
    def decided(self) -> Tensor:
        """Whether the rule has decided: a boolean scalar on the device."""
        return self._state["decided"]

    @property
    def _iteration(self) -> int:
        return self._counts["iterations"]

    def begin(self, like: Tensor) -> None:
        """Create the state, on the device and in the shape of an image ``(1, C, H, W)``."""
        self._state = {
            "kept": torch.zeros((), dtype=torch.int64, device=like.device),
            "spent": torch.zeros((), dtype=torch.int64, device=like.device),
            "decided": torch.zeros((), dtype=torch.bool, device=like.device),
            "output": torch.zeros_like(like),
            "average": torch.zeros_like(like),
        }

    def begin_stage(self) -> None:
        """Reset what does not hold across stages, because target or input change here; by default nothing."""

    def update(self, view: View) -> None:
        """Observe one iteration."""
        self._counts["iterations"] += 1
        self._update(view)

    def choice(self, view: View) -> Choice:
        """Return what the rule chose; the last iteration if it never kept one.

        Args:
            view: The last iteration of the fit.
        """
        kept = int(self._state["kept"])
        decided = bool(self.decided)
        return Choice(
            iteration=kept or self._iteration,
            spent=int(self._state["spent"]) if decided else self._iteration,
            decided=decided,
            output=self._state["output"] if kept else view.output,
            average=self._state["average"] if kept else view.average,
        )

    def state(self) -> dict[str, Any]:
        """Return the state, for :meth:`restore`; its tensors are the rule's own, not copies."""
        return {"counts": self._counts, "tensors": self._state}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state; its tensors must not be used elsewhere."""
        device = self._state["kept"].device
        self._counts = dict(state["counts"])
        self._state = {name: value.to(device) for name, value in state["tensors"].items()}

    def _update(self, view: View) -> None:
        raise NotImplementedError

    def _keep(self, view: View, keep: Tensor) -> None:
        """Keep this iteration if ``keep``, a boolean scalar on the device."""
        for name, image in (("output", view.output), ("average", view.average)):
            torch.where(keep, image, self._state[name], out=self._state[name])
        self._state["kept"].copy_(torch.where(keep, self._iteration, self._state["kept"]))

    def _decide(self, decide: Tensor) -> None:
        """Decide here if ``decide``, a boolean scalar on the device."""
        self._state["spent"].copy_(torch.where(decide, self._iteration, self._state["spent"]))
        self._state["decided"].logical_or_(decide)


class Lowest(Rule):
    """Keeps the iteration of the lowest statistic, and decides after some iterations without a lower one.

    A subclass calls :meth:`_compare` whenever it has a statistic, and :meth:`_check_patience` at each iteration.

    Args:
        patience: Iterations without a new lowest statistic after which the rule decides; None for never.
    """

    def __init__(self, patience: int | None) -> None:
        super().__init__()
        self._patience = patience

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._state["lowest"] = torch.full((), torch.inf, device=like.device)
        self._state["at"] = torch.zeros((), dtype=torch.int64, device=like.device)

    def begin_stage(self) -> None:
        """Forget the lowest statistic but not the iteration kept, which the stage's first statistic replaces."""
        self._state["lowest"].fill_(torch.inf)

    def choice(self, view: View) -> Choice:
        """Return what the rule chose, with its statistic."""
        lowest = float(self._state["lowest"])
        return replace(super().choice(view), statistic=lowest if math.isfinite(lowest) else None)

    def _compare(self, view: View, statistic: Tensor) -> None:
        """Keep this iteration if its statistic is the lowest so far."""
        lower = (statistic < self._state["lowest"]) & ~self.decided
        self._state["lowest"].copy_(torch.where(lower, statistic, self._state["lowest"]))
        self._state["at"].copy_(torch.where(lower, self._iteration, self._state["at"]))
        self._keep(view, lower)

    def _check_patience(self) -> None:
        if self._patience is not None:
            waited = self._iteration - self._state["at"] >= self._patience
            self._decide(waited & self._state["lowest"].isfinite() & ~self.decided)


def mean_weights(pixels: Tensor, image: Tensor) -> Tensor:
    """Return weights ``(1, 1, H, W)`` under which the sum over an image is its mean over some pixels.

    Args:
        pixels: ``(1, 1, H, W)`` boolean.
        image: ``(1, C, H, W)``.
    """
    return pixels.float() / (pixels.sum() * image.shape[1])
