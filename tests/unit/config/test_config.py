from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.config import Config, DiscrepancyConfig, ResidualConfig, StoppingConfig, parse

if TYPE_CHECKING:
    from tests.conftest import Compose


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ((), DiscrepancyConfig(lag=1.0)),
        (("stopping.lag=0",), DiscrepancyConfig()),
        (("stopping.sigma=estimate", "stopping.tau=1.1"), DiscrepancyConfig(sigma="estimate", tau=1.1, lag=1.0)),
        (("stopping=auto_estimated",), DiscrepancyConfig(sigma="estimate", lag=1.0)),
        (("protocol=recorrupted",), ResidualConfig()),
        (("protocol=recorrupted", "method=baseline"), DiscrepancyConfig(lag=1.0)),
        (("protocol=recorrupted", "stopping=discrepancy"), DiscrepancyConfig()),
    ],
)
def test_auto_stands_for_the_rule_that_fits_the_plan(
    composing: Compose, overrides: tuple[str, ...], rule: StoppingConfig
) -> None:
    config = parse(composing(*overrides, "monitors=all"))
    assert config.stopping == rule
    governing = parse(composing(*(o for o in overrides if not o.startswith("stopping")), "monitors=all"))
    assert governing.monitors.rules["auto"] == governing.stopping


def test_recorruption_rises_in_equal_ratios_and_one_alpha_is_one_stage(composing: Compose) -> None:
    one = parse(composing("protocol=recorrupted", "protocol.alpha=0.4", "trainer.iterations=70"))
    assert (one.alphas, one.stage_numbers(), one.iterations) == ([0.4], ((0.01,), (70,)), 70)
    several = parse(composing("protocol=recorrupted", "protocol.last_alpha=2", "scheduler.stages=3"))
    assert several.alphas == pytest.approx([0.5, 1, 2])
    assert len(several.stage_numbers()[1]) == 3
    assert several.net_input == one.net_input == "observed"


def test_every_method_gets_the_same_number_of_iterations(composing: Compose) -> None:
    for budget in ("saturating", "decaying", "constant"):
        betas, budgets = parse(composing(f"budget={budget}", "trainer.iterations=777")).stage_numbers()
        assert sum(budgets) == 777
        assert list(betas) == sorted(betas, reverse=True)
    unscaled = parse(composing("budget=constant", "budget.rescale=false", "budget.max_epochs=30"))
    assert unscaled.stage_numbers()[1] == (30,) * 10


def test_a_typed_configuration_cannot_be_changed_by_one_cell_for_another(composing: Compose) -> None:
    first, second = parse(composing("seed=1")), parse(composing("seed=2"))
    assert first.trainer is second.trainer

    def parts(value: Any) -> list[Any]:
        inner = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return [value, *(part for v in inner if dataclasses.is_dataclass(v) for part in parts(v))]

    assert len(parts(first)) == 17
    for part in parts(first):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, "other")
    assert isinstance(first, Config)
    assert hash(first) != hash(second)
