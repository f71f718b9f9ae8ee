"""Averages of a fit's outputs, which are smoother than any output and nearer to the clean image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AVERAGES", "Average", "Exponential", "Last", "Window"]


class Average:
    """A running average of images.

    Attributes:
        value: The average so far, ``(1, C, H, W)``.
    """

    value: Tensor

    @property
    def age(self) -> float:
        """The weighted mean age of the outputs in the average, in iterations, once it has run for long."""
        raise NotImplementedError

    def begin(self, like: Tensor) -> None:
        """Create the state, on the device and in the shape of an image ``(1, C, H, W)``."""
        self.value = torch.zeros_like(like)
        self._updates = 0

    def update(self, output: Tensor) -> None:
        """Add one output."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the state, for :meth:`restore`; its tensors are the average's own, not copies."""
        return {"value": self.value, "updates": self._updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state; its tensors must not be used elsewhere."""
        self.value, self._updates = state["value"].to(self.value.device), state["updates"]


class Last(Average):
    """No average: the last output itself."""

    @property
    def age(self) -> float:
        """0: the last output is its own average."""
        return 0.0

    def update(self, output: Tensor) -> None:
        """Add one output."""
        self.value = output.clone()


class Exponential(Average):
    r"""The exponential average :math:`a \leftarrow d\,a + (1-d)\,f` of Ulyanov et al., 2018.

    It begins with the first output, which shows nothing yet and keeps the weight :math:`d^{t-1}` for hundreds of
    iterations. With ``debias``, the weight of an output depends on its age alone (Kingma and Ba, 2015, section 3):

    .. math:: a_t = a_{t-1} + \frac{1-d}{1-d^t} (f_t - a_{t-1})

    Args:
        decay: d, in [0, 1).
        debias: Whether to correct the bias towards the first output.
    """

    def __init__(self, decay: float = 0.99, *, debias: bool = False) -> None:
        self._decay, self._debias = decay, debias

    @property
    def age(self) -> float:
        """D / (1 - d)."""
        return self._decay / (1 - self._decay)

    def update(self, output: Tensor) -> None:
        """Add one output."""
        self._updates += 1
        new = (1 - self._decay) / (1 - self._decay**self._updates) if self._debias else 1 - self._decay
        self.value.lerp_(output, new if self._updates > 1 else 1.0)


class Window(Average):
    """The mean of the last outputs.

    Args:
        window: W, how many, >= 1; all of them are kept in memory.
    """

    def __init__(self, window: int = 100) -> None:
        self._window = window

    @property
    def age(self) -> float:
        """(W - 1) / 2."""
        return (self._window - 1) / 2

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._outputs = torch.zeros((self._window, *like.shape[1:]), device=like.device)

    def update(self, output: Tensor) -> None:
        """Add one output."""
        oldest, count = self._outputs[self._updates % self._window], min(self._updates + 1, self._window)
        before = oldest if self._updates >= self._window else self.value[0]
        self.value += (output - before) / count
        oldest.copy_(output[0])
        self._updates += 1

    def state(self) -> dict[str, Any]:
        """Return the state."""
        return {**super().state(), "outputs": self._outputs}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().restore(state)
        self._outputs = state["outputs"].to(self.value.device)


AVERAGES = {"none": Last, "exponential": Exponential, "window": Window}
"""The averages, by the names of the group ``average``."""
