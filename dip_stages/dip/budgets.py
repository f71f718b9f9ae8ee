"""Iteration budgets: how many optimiser steps a stage is granted, as pure functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dip_stages.errors import ConfigError, check_choice, check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BUDGETS", "allocate", "constant", "decaying", "epoch_budget", "rescale", "saturating", "total_of"]


def saturating(beta: float, *, max_epochs: int, alpha: float, k: float) -> int:
    r"""Return the iterations granted to a stage, by the formula that the course report prints.

    .. math:: E(\beta) = \mathrm{int}(E_{\max}(1 - \alpha e^{-k\beta}))

    Grows with ``beta``: noisier stages get more. Double precision, truncated towards zero.

    Args:
        beta: Noise variance of the stage, dimensionless, >= 0.
        max_epochs: :math:`E_{\max}` >= 1; one epoch is one optimiser step.
        alpha: Fraction withheld at ``beta = 0``, in [0, 1].
        k: Rate per unit ``beta``, >= 0.

    Returns:
        Iterations in ``[0, max_epochs]``; 0 skips the stage.

    Raises:
        ConfigError: If an argument is out of range or not finite.

    Example:
        >>> saturating(0.5, max_epochs=3000, alpha=0.5, k=5.0)
        2876
        >>> saturating(0.0, max_epochs=1000, alpha=0.9, k=5.0)
        99
    """
    _check(beta, max_epochs, alpha, k)
    return int(max_epochs * (1 - alpha * math.exp(-k * beta)))


def decaying(beta: float, *, max_epochs: int, alpha: float, k: float) -> int:
    r"""Return the iterations granted to a stage, as the course report's text describes it: more as beta falls.

    .. math:: E(\beta) = \mathrm{int}(E_{\max}(1 - \alpha (1 - e^{-k\beta})))

    Args:
        beta: Noise variance of the stage, dimensionless, >= 0.
        max_epochs: :math:`E_{\max}` >= 1; one epoch is one optimiser step.
        alpha: Fraction withheld as ``beta`` grows without bound, in [0, 1].
        k: Rate per unit ``beta``, >= 0.

    Returns:
        Iterations in ``[0, max_epochs]``; 0 skips the stage.

    Raises:
        ConfigError: If an argument is out of range or not finite.

    Example:
        >>> decaying(0.0, max_epochs=1000, alpha=0.9, k=150.0)
        1000
        >>> decaying(0.02, max_epochs=1000, alpha=0.9, k=150.0)
        144
    """
    _check(beta, max_epochs, alpha, k)
    return int(max_epochs * (1 - alpha * (1 - math.exp(-k * beta))))


def constant(beta: float, *, max_epochs: int, alpha: float, k: float) -> int:
    """Return ``max_epochs`` for every ``beta``: the control that shows whether the dynamic budget matters.

    Args:
        beta: Noise variance of the stage, >= 0; not used.
        max_epochs: Iterations of every stage, >= 1.
        alpha: Checked and otherwise unused, so that the three budgets have one signature.
        k: As ``alpha``.

    Returns:
        ``max_epochs``.

    Raises:
        ConfigError: If an argument is out of range or not finite.

    Example:
        >>> constant(0.01, max_epochs=150, alpha=0.9, k=150.0)
        150
    """
    _check(beta, max_epochs, alpha, k)
    return max_epochs


BUDGETS: dict[str, Callable[..., int]] = {"saturating": saturating, "decaying": decaying, "constant": constant}


def epoch_budget(name: str, beta: float, *, max_epochs: int, alpha: float, k: float) -> int:
    """Return the iterations that the budget called ``name`` grants to a stage; see the three functions above."""
    check_choice("budget.name", name, BUDGETS)
    return BUDGETS[name](beta, max_epochs=max_epochs, alpha=alpha, k=k)


def rescale(budgets: Sequence[int], total: int) -> tuple[int, ...]:
    """Return whole budgets in the same proportions that add up to ``total`` (largest remainders).

    Args:
        budgets: Iterations of each stage, >= 0, not all zero.
        total: Wanted sum, >= 1.

    Returns:
        As many budgets as given, summing to ``total``; a stage of 0 stays 0.

    Raises:
        ConfigError: If no stage has an iteration to scale.

    Example:
        >>> rescale((300, 100, 200), 10)
        (5, 2, 3)
    """
    check_range("total", total, at_least=1)
    if sum(budgets) < 1:
        raise ConfigError(setting="budget", got=tuple(budgets), allowed="at least one stage with an iteration")
    whole = [budget * total // sum(budgets) for budget in budgets]
    by_remainder = sorted(range(len(budgets)), key=lambda i: (-(budgets[i] * total % sum(budgets)), i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return tuple(whole)


def allocate(
    name: str, betas: Sequence[float], *, max_epochs: int, alpha: float, k: float, total: int | None
) -> tuple[int, ...]:
    """Return every stage's iterations.

    Args:
        name: A key of :data:`BUDGETS`.
        betas: Noise variances of the stages, in the order in which they are trained.
        max_epochs: See :func:`saturating`.
        alpha: See :func:`saturating`.
        k: See :func:`saturating`.
        total: The sum to rescale to, so that methods are compared at equal cost; ``None`` for the formula's numbers.

    Returns:
        Iterations of each stage, in the order of ``betas``.

    Raises:
        ConfigError: If an argument is out of range, or no stage has an iteration.

    Example:
        >>> allocate("saturating", (0.02, 0.01, 0.0001), max_epochs=1000, alpha=0.9, k=150.0, total=300)
        (154, 128, 18)
    """
    budgets = tuple(epoch_budget(name, beta, max_epochs=max_epochs, alpha=alpha, k=k) for beta in betas)
    settings = f" with max_epochs={max_epochs}, alpha={alpha:g}, k={k:g}"
    return total_of(name, budgets, total, settings, " (a smaller alpha, a larger max_epochs)")


def total_of(
    name: str, budgets: tuple[int, ...], total: int | None, settings: str = "", ways: str = ""
) -> tuple[int, ...]:
    """Return the stages' iterations, rescaled to a total if there is one.

    Args:
        name: The budget's.
        budgets: Iterations of each stage.
        total: As of :func:`allocate`.
        settings: For an error: how the budget was called.
        ways: For an error: what to do.

    Raises:
        ConfigError: If no stage has an iteration.
    """
    if sum(budgets) < 1:
        problem = f"{settings}, which leaves no iteration in any of the {len(budgets)} stages"
        raise ConfigError(problem, setting="budget", got=name, allowed=f"settings that leave at least one{ways}")
    return budgets if total is None else rescale(budgets, total)


def _check(beta: float, max_epochs: int, alpha: float, k: float) -> None:
    check_range("beta", beta, at_least=0)
    check_range("budget.max_epochs", max_epochs, at_least=1)
    check_range("budget.alpha", alpha, at_least=0, at_most=1)
    check_range("budget.k", k, at_least=0)
