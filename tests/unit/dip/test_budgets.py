from __future__ import annotations

import math

import pytest

from dip_stages.dip.budgets import BUDGETS, allocate, constant, decaying, epoch_budget, rescale, saturating
from dip_stages.errors import ConfigError
from tests.raising import refused


def test_the_printed_formula_is_truncated_in_double_precision() -> None:
    # 1000 * (1 - 0.9) is 99.99999999999997 in doubles: the report's int() gives 99 and not 100.
    assert saturating(0.0, max_epochs=1000, alpha=0.9, k=5.0) == 99
    assert saturating(0.01, max_epochs=3000, alpha=0.9, k=150.0) == int(3000 * (1 - 0.9 * math.exp(-1.5)))


def test_the_prose_gives_most_to_the_cleanest_stage() -> None:
    assert decaying(0.0, max_epochs=1000, alpha=0.9, k=150.0) == 1000
    assert decaying(1.0, max_epochs=1000, alpha=0.25, k=150.0) == 750


def test_the_control_gives_every_stage_the_same() -> None:
    assert {constant(beta, max_epochs=70, alpha=0.9, k=150.0) for beta in (0.0, 0.01, 0.5)} == {70}


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"beta": -0.1}, "beta"),
        ({"beta": math.inf}, "beta"),
        ({"beta": math.nan}, "beta"),
        ({"max_epochs": 0}, "budget.max_epochs"),
        ({"max_epochs": math.inf}, "budget.max_epochs"),
        ({"alpha": -0.1}, "budget.alpha"),
        ({"alpha": 1.1}, "budget.alpha"),
        ({"alpha": math.nan}, "budget.alpha"),
        ({"k": -1.0}, "budget.k"),
        ({"k": math.inf}, "budget.k"),
        ({"k": math.nan}, "budget.k"),
    ],
)
def test_arguments_out_of_range_are_named(name: str, changes: dict[str, float], key: str) -> None:
    arguments = {"beta": 0.01, "max_epochs": 100, "alpha": 0.5, "k": 10.0} | changes
    with refused(ConfigError, key, got=next(iter(changes.values()))):
        epoch_budget(name, arguments.pop("beta"), **arguments)  # type: ignore[arg-type]


def test_an_unknown_budget_is_refused() -> None:
    with refused(ConfigError, "budget.name", got="linear", allowed="saturating, decaying, constant"):
        epoch_budget("linear", 0.1, max_epochs=1, alpha=0.5, k=1.0)


@pytest.mark.parametrize(
    ("budgets", "total", "expected"),
    [((1, 1, 1), 10, (4, 3, 3)), ((0, 5, 0), 7, (0, 7, 0)), ((300, 100, 200), 6, (3, 1, 2)), ((10, 1), 1, (1, 0))],
)
def test_largest_remainders(budgets: tuple[int, ...], total: int, expected: tuple[int, ...]) -> None:
    assert rescale(budgets, total) == expected


def test_nothing_to_scale_is_refused() -> None:
    with refused(ConfigError, "budget", got=(0, 0), names=("at least one stage",)):
        rescale((0, 0), 10)


@pytest.mark.parametrize("total", [0, -1])
def test_a_sum_that_cannot_be_is_refused(total: int) -> None:
    with refused(ConfigError, "total", got=total, allowed="a number >= 1"):
        rescale((3, 1), total)


@pytest.mark.parametrize("total", [None, 100])
def test_a_budget_without_any_iteration_says_how_to_get_one(total: int | None) -> None:
    with refused(ConfigError, "budget", got="saturating", problem="any of the 2 stages", names=("smaller alpha",)):
        allocate("saturating", (0.02, 0.01), max_epochs=100, alpha=1.0, k=0.0, total=total)


def test_unscaled_budgets_are_the_formulas_numbers() -> None:
    betas = (0.02, 0.01, 0.0001)
    assert allocate("decaying", betas, max_epochs=500, alpha=0.9, k=150.0, total=None) == tuple(
        decaying(beta, max_epochs=500, alpha=0.9, k=150.0) for beta in betas
    )
