from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dip_stages.dip.stages import Chunk, Chunks, StagePlan, baseline_plan, level_noise, staged_plan
from dip_stages.errors import ConfigError
from tests.raising import refused

SHAPE = (1, 3, 8, 8)
BETAS, BUDGETS = (0.02, 0.01, 0.0001), (5, 0, 7)
CLEAN, OBSERVED = torch.full(SHAPE, 0.25), torch.full(SHAPE, 0.75)
EPS = level_noise(SHAPE, 3, 0)


def a_plan(protocol: str, clean: torch.Tensor | None = None, **changes: object) -> StagePlan:
    arguments = {
        "net_input": "previous_output",
        "betas": BETAS,
        "budgets": BUDGETS,
        "observed": OBSERVED,
        "level_eps": EPS,
    }
    return staged_plan(protocol=protocol, clean=clean, **(arguments | changes))  # type: ignore[arg-type]


def level(image: torch.Tensor, stage: int) -> torch.Tensor:
    return math.sqrt(1 - BETAS[stage]) * image + math.sqrt(BETAS[stage]) * EPS[stage]


def test_clean_makes_every_target_from_the_clean_image_and_says_so() -> None:
    plan = a_plan("clean", CLEAN)
    assert plan.sees_clean
    for index, stage in enumerate(plan.stages):
        torch.testing.assert_close(stage.target, level(CLEAN, index))
        assert stage.reference is stage.target


def test_renoised_ends_on_the_observed_image_itself() -> None:
    plan = a_plan("renoised")
    assert not plan.sees_clean
    for index in (0, 1):
        torch.testing.assert_close(plan.stages[index].target, level(OBSERVED, index))
    assert plan.stages[-1].target is OBSERVED


def test_renoised_ends_on_the_observed_image_even_where_the_last_stages_are_skipped() -> None:
    trained = [stage for stage in a_plan("renoised", budgets=(5, 7, 0)).stages if stage.budget]
    assert trained[-1].target is OBSERVED


def test_renoised_of_a_single_stage_fits_the_observed_image() -> None:
    plan = a_plan("renoised", betas=(0.02,), budgets=(3,), level_eps=EPS[:1])
    assert plan.stages[0].target is OBSERVED


def test_observed_fits_the_observed_image_throughout() -> None:
    plan = a_plan("observed")
    assert not plan.sees_clean
    assert all(stage.target is OBSERVED for stage in plan.stages)


def test_recorrupted_stages_start_from_the_observed_image_and_have_their_alphas() -> None:
    plan = a_plan("recorrupted", net_input="observed", alphas=(0.3, 0.6, 1.2), sigma=0.1)
    assert not plan.sees_clean
    assert [stage.alpha for stage in plan.stages] == [0.3, 0.6, 1.2]
    assert all(stage.target is OBSERVED for stage in plan.stages)
    assert plan.first_input is OBSERVED
    assert plan.sigma == 0.1
    assert all(stage.alpha is None for stage in a_plan("renoised").stages)


@pytest.mark.parametrize(
    ("protocol", "changes"),
    [
        ("recorrupted", {}),
        ("recorrupted", {"alphas": (1.0, 1.0, 1.0)}),
        ("recorrupted", {"sigma": 0.1}),
        ("renoised", {"sigma": 0.1, "alphas": (1.0, 1.0, 1.0)}),
    ],
)
def test_alphas_and_sigma_belong_to_the_recorrupted_protocol(protocol: str, changes: dict[str, Any]) -> None:
    with refused(ConfigError, "protocol", got=protocol, problem="alphas and sigma"):
        a_plan(protocol, **changes)


def test_the_baseline_is_one_stage_on_the_observed_image() -> None:
    plan = baseline_plan(OBSERVED, 30)
    assert [(stage.budget, stage.target is OBSERVED) for stage in plan.stages] == [(30, True)]
    assert plan.net_input == "fixed_noise"
    assert not plan.sees_clean


def test_stages_keep_the_order_noisiest_first_with_their_budgets() -> None:
    assert [(stage.beta, stage.budget) for stage in a_plan("renoised").stages] == list(zip(BETAS, BUDGETS, strict=True))


@pytest.mark.parametrize("protocol", ["renoised", "observed"])
def test_a_blind_protocol_takes_no_clean_image(protocol: str) -> None:
    with refused(ConfigError, "protocol", got=protocol, problem="the clean image"):
        a_plan(protocol, CLEAN)


def test_the_clean_protocol_needs_the_clean_image() -> None:
    with refused(ConfigError, "protocol", got="clean", problem="the clean image"):
        a_plan("clean")


def test_the_clean_reference_is_for_the_clean_protocol_alone() -> None:
    plan = a_plan("clean", CLEAN, perceptual_reference="clean")
    assert all(stage.reference is CLEAN for stage in plan.stages)
    with refused(ConfigError, "loss.reference", got="clean", allowed="target"):
        a_plan("renoised", perceptual_reference="clean")


@pytest.mark.parametrize("protocol", ["renoised", "observed"])
def test_a_blind_plan_refers_to_nothing_but_its_targets(protocol: str) -> None:
    assert all(stage.reference is stage.target for stage in a_plan(protocol).stages)


def test_each_stage_has_a_draw_of_its_own() -> None:
    draws = torch.stack([eps.flatten() for eps in level_noise((1, 3, 40, 40), 4, 0)])
    assert torch.corrcoef(draws).fill_diagonal_(0).abs().max() < 0.06
    assert not torch.equal(draws[0], level_noise((1, 3, 40, 40), 4, 1)[0].flatten())


@pytest.mark.parametrize(
    ("changes", "setting", "got", "way"),
    [
        ({"protocol": "leaky"}, "protocol.name", "leaky", "clean, renoised, observed"),
        ({"net_input": "image"}, "method.input", "image", ""),
        ({"betas": BETAS[:2]}, "stages", {"betas": 2, "budgets": 3, "draws": 3}, "equal"),
        (
            {"protocol": "recorrupted", "alphas": (1.0,), "sigma": 0.1},
            "stages",
            {"betas": 3, "budgets": 3, "draws": 3, "alphas": 1},
            "equal",
        ),
        ({"budgets": (0, 0, 0)}, "budget", [0, 0, 0], "at least one iteration"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, object], setting: str, got: object, way: str) -> None:
    with refused(ConfigError, setting, got=got, names=(way,)):
        a_plan(**({"protocol": "renoised"} | changes))  # type: ignore[arg-type]


def test_chunks_end_at_multiples_and_at_stage_switches() -> None:
    plan = a_plan("renoised", budgets=(5, 0, 7))
    assert list(Chunks(plan, 4)) == [Chunk(0, 0, 4), Chunk(0, 4, 5), Chunk(2, 5, 8), Chunk(2, 8, 12)]
    assert list(Chunks(plan, 100)) == [Chunk(0, 0, 5), Chunk(2, 5, 12)]
