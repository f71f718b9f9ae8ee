from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.config import parse
from dip_stages.errors import ConfigError
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose


def test_a_rule_that_cannot_be_computed_for_a_fit_is_refused_and_left_out_of_the_monitors(composing: Compose) -> None:
    for rule, others, problem, way in (
        ("sure", (), "method.input=previous_output", "method.input=observed"),
        ("stage_gain", ("method=baseline",), "method=baseline", "method=staged"),
        ("residual", (), "protocol=renoised", "protocol=recorrupted"),
        ("held_out", (), "trainer.held_out=0.0", "trainer.held_out=0.1"),
        ("held_out", ("protocol=recorrupted",), "protocol=recorrupted", "another protocol"),
    ):
        with refused(ConfigError, "stopping", got=rule, names=(way,), problem=problem):
            parse(composing(f"stopping={rule}", *others))
    everything = set(parse(composing("monitors=all")).monitors.rules)
    assert set(parse(composing("monitors=all")).active_monitors) == everything - {"sure", "residual", "held_out"}
    assert set(parse(composing("monitors=all", "trainer.held_out=0.1")).active_monitors) == everything - {
        "sure",
        "residual",
    }
    observed = parse(composing("monitors=all", "method=baseline", "method.input=observed"))
    assert set(observed.active_monitors) == everything - {"stage_gain", "residual", "held_out"}
    recorrupted = ("monitors=all", "protocol=recorrupted")
    assert set(parse(composing(*recorrupted)).active_monitors) == everything - {"stage_gain", "held_out"}
    assert set(parse(composing(*recorrupted, "protocol.last_alpha=1")).active_monitors) == everything - {"held_out"}
    assert observed.monitors.rules["oracle_of_output"].of == "output"
    assert observed.monitors.rules["discrepancy_estimated"].sigma == "estimate"


@pytest.mark.parametrize(
    ("overrides", "got", "problem", "allowed"),
    [
        (("method=baseline", "method.input=observed"), 0.1, "method.input=observed", "0, or another method.input"),
        (("protocol=recorrupted",), 0.1, "protocol=recorrupted", "0, or another protocol"),
        (("method=aseqdip",), 0.1, "method=aseqdip", "0, or another method"),
        (("loss=perceptual",), 0.1, "loss=perceptual", "0, or loss=mse"),
        (("trainer.held_out=0.95",), 0.95, "", "a number >= 0 and <= 0.9"),
    ],
)
def test_pixels_are_not_held_out_where_the_fit_would_see_them(
    composing: Compose, overrides: tuple[str, ...], got: float, problem: str, allowed: str
) -> None:
    with refused(ConfigError, "trainer.held_out", got=got, problem=problem, allowed=allowed):
        parse(composing("trainer.held_out=0.1", *overrides))
    parse(composing("trainer.held_out=0.1", "method=baseline", "loss=perceptual"))  # the baseline's loss is MSE


@pytest.mark.parametrize(
    ("overrides", "setting", "got", "problem", "way"),
    [
        (("stopping.sigma=estimate",), "stopping.sigma", "estimate", "", "protocol.sigma=estimate"),
        (("stopping=auto_estimated",), "stopping.sigma", "estimate", "", "protocol.sigma=estimate"),
        (("stopping.tau=-5",), "stopping.tau", -5, "", "> 0"),
        (("stopping=stage_gain",), "stopping", "stage_gain", "protocol=recorrupted", "protocol.last_alpha=…"),
        (("loss=perceptual",), "loss.name", "perceptual", "protocol=recorrupted", "mse"),
        (("protocol.alpha=0",), "protocol.alpha", 0, "", ">= 0.001"),
        (("protocol.last_alpha=1e9",), "protocol.last_alpha", 1e9, "", ""),
        (("protocol.last_alpha=2", "scheduler.stages=1"), "protocol.last_alpha", 2, "scheduler.stages=1", "null"),
        (("protocol.sigma=guess",), "protocol.sigma", "guess", "", "known, estimate"),
    ],
)
def test_what_recorruption_cannot_be_is_refused(
    composing: Compose, overrides: tuple[str, ...], setting: str, got: object, problem: str, way: str
) -> None:
    with refused(ConfigError, setting, got=got, problem=problem, names=(way,)):
        parse(composing("protocol=recorrupted", *overrides))
    if overrides == ("stopping.sigma=estimate",):
        parse(composing("protocol=recorrupted", "protocol.sigma=estimate", *overrides))


def test_a_budget_without_any_iteration_is_refused(composing: Compose) -> None:
    with refused(ConfigError, "budget", got="saturating", problem="alpha=1, k=0", names=("smaller alpha",)):
        parse(composing("budget.alpha=1", "budget.k=0"))


def test_the_clean_reference_belongs_to_the_clean_protocol(composing: Compose) -> None:
    leaky = ("loss=perceptual", "loss.reference=clean")
    assert parse(composing("protocol=clean", *leaky)).loss.name == "perceptual"
    with refused(ConfigError, "loss.reference", got="clean", problem="protocol=renoised", names=("target",)):
        parse(composing("protocol=renoised", *leaky))


def test_the_baseline_is_not_held_to_what_it_ignores(composing: Compose) -> None:
    config = parse(composing("method=baseline", "scheduler.stages=0", "budget.alpha=1", "budget.k=0"))
    assert config.net_input == "fixed_noise"
