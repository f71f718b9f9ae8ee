"""Averages of a fit's outputs: what is smoother than any of them, and nearer to the clean image."""

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
        """How many iterations ago the outputs that it averages were, by their weights."""
        raise NotImplementedError

    def begin(self, like: Tensor) -> None:
        """Make the state, where and in the shape of an image."""
        self.value = torch.zeros_like(like)
        self._taken = 0

    def take(self, output: Tensor) -> None:
        """Take in one output."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the state, for :meth:`restore`; tensors in it are the average's own."""
        return {"value": self.value, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state; its tensors must not be used elsewhere."""
        self.value, self._taken = state["value"].to(self.value.device), state["taken"]


class Last(Average):
    """No average: the last output itself."""

    @property
    def age(self) -> float:
        """Nothing."""
        return 0.0

    def take(self, output: Tensor) -> None:
        """Take in one output."""
        self.value = output.clone()


class Exponential(Average):
    r"""The exponential average :math:`a \leftarrow d\,a + (1-d)\,f` of Ulyanov et al., 2018.

    Theirs begins with the first output, which then weighs :math:`d^t` for hundreds of iterations, when it shows
    nothing yet. Without that bias (Kingma and Ba, 2015), all outputs weigh what their age says:

    .. math:: a_t = a_{t-1} + \frac{1-d}{1-d^t} (f_t - a_{t-1})

    Args:
        decay: d, in [0, 1).
        debias: Whether to weigh so.
    """

    def __init__(self, decay: float = 0.99, *, debias: bool = False) -> None:
        self._decay, self._debias = decay, debias

    @property
    def age(self) -> float:
        """Once it has run for long, d / (1 - d)."""
        return self._decay / (1 - self._decay)

    def take(self, output: Tensor) -> None:
        """Take in one output."""
        self._taken += 1
        new = (1 - self._decay) / (1 - self._decay**self._taken) if self._debias else 1 - self._decay
        self.value.lerp_(output, new if self._taken > 1 else 1.0)


class Window(Average):
    """The mean of the last outputs.

    Args:
        window: How many, >= 1; they are all kept in memory.
    """

    def __init__(self, window: int = 100) -> None:
        self._window = window

    @property
    def age(self) -> float:
        """Once it is full, (W - 1) / 2."""
        return (self._window - 1) / 2

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._outputs = torch.zeros((self._window, *like.shape[1:]), device=like.device)

    def take(self, output: Tensor) -> None:
        """Take in one output."""
        oldest, count = self._outputs[self._taken % self._window], min(self._taken + 1, self._window)
        before = oldest if self._taken >= self._window else self.value[0]
        self.value += (output - before) / count
        oldest.copy_(output[0])
        self._taken += 1

    def state(self) -> dict[str, Any]:
        """Return the state."""
        return {**super().state(), "outputs": self._outputs}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        super().restore(state)
        self._outputs = state["outputs"].to(self.value.device)


AVERAGES = {"none": Last, "exponential": Exponential, "window": Window}
"""The averages, by the names of the group ``average``."""
