from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from dip_stages.dip.losses import MSELoss
from dip_stages.dip.methods import BaselineDIP, StagedDIP
from dip_stages.dip.settings import FitSettings
from dip_stages.dip.stages import Stage, StagePlan, baseline_plan
from dip_stages.errors import ConfigError
from tests.fitting import Tiny, a_module, a_staged_plan, an_image, fit, stop_after
from tests.raising import refused

if TYPE_CHECKING:
    from dip_stages.dip.module import DIPModule


def test_the_baseline_is_a_staged_fit_of_one_stage() -> None:
    plan = baseline_plan(an_image(), 12)
    network = Tiny(8)
    staged = fit(StagedDIP(network, plan, MSELoss(), FitSettings(input_channels=8), 0))
    assert torch.equal(fit(a_module(plan, 8)[0]).output, staged.output)


def test_the_baseline_refuses_a_plan_of_several_stages_or_one_that_sees_the_clean_image() -> None:
    with refused(ConfigError, got=3, allowed="one blind stage"):
        BaselineDIP(Tiny(3), a_staged_plan("previous_output"), MSELoss(), FitSettings(), 0)
    leaky = StagePlan((Stage(0.1, 5, an_image(), an_image()),), "fixed_noise", sees_clean=True)
    with refused(ConfigError, got=1, allowed="one blind stage"):
        BaselineDIP(Tiny(8), leaky, MSELoss(), FitSettings(), 0)


def test_aseqdip_is_fed_its_own_output_and_penalised_for_the_distance() -> None:
    plan = baseline_plan(an_image(), 12, net_input="own_output")
    module, network = a_module(plan, 3, jitter=0.0, refresh=3, penalty=2.0)
    fit(module)
    assert all(torch.equal(fed, an_image()) for fed in network.fed[:3])
    for number in range(3, 12):
        assert torch.equal(network.fed[number], network.gave[number - number % 3 - 1])
    gave, fed = network.gave[-1], network.fed[-1]
    expected = (gave - an_image()).square().mean() + 2.0 * (gave - fed).square().mean()
    torch.testing.assert_close(module.loss_value, expected)


@pytest.mark.parametrize("edge", [4, 8])
def test_a_resumed_aseqdip_gives_the_same_as_an_uninterrupted_one(edge: int) -> None:
    def made() -> tuple[DIPModule, Tiny]:
        return a_module(baseline_plan(an_image(), 12, net_input="own_output"), 3, refresh=3)

    whole, everything = made()
    fit(whole)
    first, _ = made()
    saved = stop_after(first, edge + 1)
    second, after = made()
    second.resume(saved)
    fit(second, start=edge)
    for ours, theirs in zip(after.fed, everything.fed[edge:], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(second.output, whole.output)
