"""Beta schedules: the noise variances of the stages, as pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dip_stages.errors import check_choice, check_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["SCHEDULES", "beta_schedule", "linear", "scaled_linear"]


def linear(beta_start: float, beta_end: float, stages: int) -> NDArray[np.float64]:
    """Return evenly spaced variances; ``linear`` of Ho et al., 2020 (arXiv 2006.11239), as in diffusers."""
    return np.linspace(beta_start, beta_end, stages)


def scaled_linear(beta_start: float, beta_end: float, stages: int) -> NDArray[np.float64]:
    """Return variances whose square roots are evenly spaced; ``scaled_linear`` of latent diffusion, as in diffusers."""
    return np.linspace(beta_start**0.5, beta_end**0.5, stages) ** 2


SCHEDULES: dict[str, Callable[[float, float, int], NDArray[np.float64]]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
}


def beta_schedule(name: str, *, beta_start: float, beta_max: float, stages: int) -> tuple[float, ...]:
    r"""Return the stages' noise variances, in ascending order.

    ``linear``: :math:`\beta_t` evenly spaced; ``scaled_linear``: :math:`\sqrt{\beta_t}` evenly spaced.

    Args:
        name: ``linear`` or ``scaled_linear``.
        beta_start: Variance of the cleanest stage, on the [0, 1] scale, > 0.
        beta_max: Variance of the noisiest stage, in [``beta_start``, 1).
        stages: Number of stages, >= 1. A single stage has ``beta_start``.

    Returns:
        ``stages`` variances, ascending, in double precision.

    Raises:
        ConfigError: If the name is unknown or an argument is out of range.

    Example:
        >>> [round(beta, 4) for beta in beta_schedule("linear", beta_start=0.0001, beta_max=0.01, stages=3)]
        [0.0001, 0.0051, 0.01]
        >>> [round(beta, 4) for beta in beta_schedule("scaled_linear", beta_start=0.0001, beta_max=0.01, stages=3)]
        [0.0001, 0.003, 0.01]
    """
    check_choice("scheduler.name", name, SCHEDULES)
    check_range("noise.beta_max", beta_max, above=0, below=1)
    check_range("scheduler.beta_start", beta_start, above=0, at_most=beta_max)
    check_range("scheduler.stages", stages, at_least=1)
    return tuple(float(beta) for beta in SCHEDULES[name](beta_start, beta_max, stages))
