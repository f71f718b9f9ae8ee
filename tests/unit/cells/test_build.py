from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from dip_stages.cells.build import (
    build_held_out,
    build_logger,
    build_module,
    build_observation,
    build_plan,
)
from dip_stages.config import LoggerConfig
from dip_stages.dip.losses import PerceptualLoss
from dip_stages.dip.methods import BaselineDIP, StagedDIP

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell


def test_the_pixels_that_are_held_out_are_as_many_as_asked_for_and_of_the_seed(make_cell: MakeCell) -> None:
    config = make_cell("trainer.held_out=0.1").config
    first, same, other = (build_held_out(config, seed, (32, 40)) for seed in (0, 0, 1))
    assert first is not None
    assert same is not None
    assert other is not None
    assert (first.shape, int(first.sum())) == ((1, 1, 32, 40), 128)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    few = build_held_out(make_cell("trainer.held_out=0.0001").config, 0, (32, 40))
    assert few is not None
    assert int(few.sum()) == 1
    assert build_held_out(make_cell().config, 0, (32, 40)) is None


def test_loggers(tmp_path: Path) -> None:
    assert build_logger(LoggerConfig("none"), tmp_path, "x") is False
    assert isinstance(build_logger(LoggerConfig("csv"), tmp_path, "x"), CSVLogger)


def test_the_method_chooses_the_module_and_the_loss(make_cell: MakeCell) -> None:
    for overrides, kind, perceptual in (
        (("method=baseline", "loss=perceptual"), BaselineDIP, False),
        (("method=staged", "loss=perceptual"), StagedDIP, True),
    ):
        config = make_cell(*overrides).config
        observation = build_observation(config)
        module = build_module(config, build_plan(config, observation), observation, accelerator="cpu")
        assert type(module) is kind
        assert isinstance(module.loss, PerceptualLoss) is perceptual


def test_weights_depend_on_the_seed_alone(make_cell: MakeCell) -> None:
    weights = []
    for override in ("seed=0", "noise_seed=9", "seed=1"):
        config = make_cell(override).config
        observation = build_observation(config)
        module = build_module(config, build_plan(config, observation), observation, accelerator="cpu")
        weights.append(next(module.network.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_levels_and_observation_use_independent_noise(make_cell: MakeCell) -> None:
    config = make_cell("protocol=clean", "scheduler.stages=2").config
    observation = build_observation(config)
    plan = build_plan(config, observation)
    draws = [observation.observed - observation.clean]
    draws += [stage.target - (1 - stage.beta) ** 0.5 * observation.clean for stage in plan.stages]
    correlations = torch.corrcoef(torch.stack([draw.flatten() for draw in draws])).fill_diagonal_(0)
    assert correlations.abs().max() < 0.06


@pytest.mark.parametrize(
    "overrides",
    [
        ("protocol=renoised",),
        ("protocol=observed",),
        ("protocol=recorrupted", "protocol.sigma=estimate"),
        ("method=baseline",),
    ],
)
def test_a_blind_plan_is_the_same_whatever_the_clean_image(make_cell: MakeCell, overrides: tuple[str, ...]) -> None:
    config = make_cell(*overrides).config
    observation = build_observation(config)
    other = dataclasses.replace(observation, clean=torch.zeros_like(observation.clean))
    plans = [build_plan(config, o) for o in (observation, other)]
    for ours, theirs in zip(plans[0].stages, plans[1].stages, strict=True):
        assert torch.equal(ours.target, theirs.target)
        assert torch.equal(ours.reference, theirs.reference)
    assert plans[0].sigma == plans[1].sigma
    if plans[0].first_input is not None and plans[1].first_input is not None:
        assert torch.equal(plans[0].first_input, plans[1].first_input)
    leaky = make_cell("protocol=clean").config
    assert not torch.equal(build_plan(leaky, observation).stages[0].target, build_plan(leaky, other).stages[0].target)
