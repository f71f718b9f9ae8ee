"""Settings of the stages: the groups ``scheduler``, ``budget`` and ``protocol``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, SupportsIndex

from dip_stages.config.data import SIGMAS
from dip_stages.config.fields import Conflict, Section, bounded, choice
from dip_stages.config.own_axes import OwnBudget, OwnScheduler
from dip_stages.dip.budgets import BUDGETS, allocate, total_of
from dip_stages.dip.schedules import SCHEDULES, beta_schedule
from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = ["BudgetConfig", "ProtocolConfig", "SchedulerConfig", "stage_numbers"]


@dataclass(frozen=True)
class SchedulerConfig(Section, section="scheduler"):
    """The noise schedule; :func:`dip_stages.dip.schedules.beta_schedule` checks the numbers, if there are stages."""

    name: str = choice("linear", SCHEDULES)
    beta_start: float = 0.0001
    stages: int = 10


@dataclass(frozen=True)
class BudgetConfig(Section, section="budget"):
    """Iterations per stage; :mod:`dip_stages.dip.budgets` checks the numbers, if there are stages."""

    name: str = choice("saturating", BUDGETS)
    max_epochs: int = 3000
    alpha: float = 0.9
    k: float = 150.0
    rescale: bool = True


@dataclass(frozen=True)
class ProtocolConfig(Section, section="protocol"):
    """What the stage targets are made from, and how; see :func:`dip_stages.dip.stages.staged_plan`."""

    name: str = choice("renoised", ("clean", "renoised", "observed", "recorrupted"))
    alpha: float = bounded(0.5, at_least=0.001, at_most=1000)
    last_alpha: float | None = bounded(None, at_least=0.001, at_most=1000)
    sigma: str = choice("known", SIGMAS)

    def conflict(self, config: Config) -> Conflict | None:
        """A single stage has a single alpha."""
        if config.recorrupted and self.last_alpha is not None and config.scheduler.stages == 1:
            return Conflict("scheduler.stages=1", "null, or more stages", "last_alpha")
        return None


@functools.cache
def stage_numbers(
    scheduler: SchedulerConfig | OwnScheduler, beta_max: float, budget: BudgetConfig | OwnBudget, total: int | None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the stages' betas, noisiest first, and their iterations.

    Args:
        scheduler: The noise schedule.
        beta_max: Noise variance of the noisiest stage, on the [0, 1] scale.
        budget: How the iterations are distributed.
        total: Sum of the iterations; None keeps the formula's numbers.

    Raises:
        ConfigError: If a number is out of range, or no iteration is left.
    """
    betas = _ascending(scheduler, beta_max)[::-1]
    if isinstance(budget, OwnBudget):
        return betas, total_of(budget.name, _own_budgets(budget, betas), total)
    budgets = allocate(budget.name, betas, max_epochs=budget.max_epochs, alpha=budget.alpha, k=budget.k, total=total)
    return betas, budgets


def _ascending(scheduler: SchedulerConfig | OwnScheduler, beta_max: float) -> tuple[float, ...]:
    if not isinstance(scheduler, OwnScheduler):
        return beta_schedule(
            scheduler.name, beta_start=scheduler.beta_start, beta_max=beta_max, stages=scheduler.stages
        )
    returned = scheduler.call_now(beta_max=beta_max, stages=scheduler.stages)
    try:
        betas = tuple(float(beta) for beta in returned)
    except (TypeError, ValueError):
        betas = ()
    if len(betas) != scheduler.stages or betas != tuple(sorted(betas)) or not 0 < betas[0] <= betas[-1] < 1:
        problem = f", which {scheduler.target} has returned"
        allowed = f"{scheduler.stages} ascending variances, > 0 and < 1"
        raise ConfigError(problem, setting="scheduler", got=returned, allowed=allowed)
    return betas


def _own_budgets(budget: OwnBudget, betas: tuple[float, ...]) -> tuple[int, ...]:
    returned = [budget.call_now(beta=beta) for beta in betas]
    for iterations in returned:
        if isinstance(iterations, bool) or not isinstance(iterations, SupportsIndex) or index(iterations) < 0:
            problem = f", which {budget.target} has returned"
            raise ConfigError(problem, setting="budget", got=iterations, allowed="a whole number of iterations >= 0")
    return tuple(index(iterations) for iterations in returned)
