from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from dip_stages.dip.averages import Exponential
from dip_stages.dip.inputs import input_channels
from dip_stages.dip.losses import MSELoss
from dip_stages.dip.methods import BaselineDIP, StagedDIP
from dip_stages.dip.settings import FitSettings
from dip_stages.dip.stages import Stage, baseline_plan, level_noise, staged_plan
from dip_stages.dip.stopping.held_out import HeldOut
from dip_stages.dip.stopping.noise_level import Discrepancy
from dip_stages.dip.stopping.oracle import Oracle
from dip_stages.dip.stopping.risk import Sure
from dip_stages.dip.stopping.stage_gain import StageGain
from dip_stages.dip.stopping.variance import EsEmv, EsWmv
from dip_stages.errors import Interrupted
from tests.fitting import SHAPE, Tiny, a_module, a_staged_plan, an_image, fit

if TYPE_CHECKING:
    from torch import Tensor

    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stopping.base import Rule


def test_the_fit_converges_to_the_target() -> None:
    module, _ = a_module(baseline_plan(torch.full(SHAPE, 0.25), 150), 8)
    fit(module)
    assert module.loss_value.item() < 1e-3
    assert module.iteration == 150
    assert module.rollbacks == 0


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    outputs = [fit(a_module(baseline_plan(an_image(), 10), 8, seed)[0]).output for seed in (0, 0, 1)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_the_size_of_a_chunk_does_not_change_the_result(chunk: int) -> None:
    outputs = [fit(a_module(a_staged_plan("previous_output"), 3)[0], size).output for size in (4, chunk)]
    assert torch.equal(outputs[0], outputs[1])


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(a_module(a_staged_plan("fixed_noise"), 8)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_average_is_the_exponential_average_of_the_outputs_across_stages() -> None:
    module, network = a_module(a_staged_plan("previous_output"), 3, average=Exponential(0.8))
    fit(module)
    average = network.gave[0]
    for output in network.gave[1:]:
        average = 0.8 * average + 0.2 * output
    assert len(network.gave) == 15
    torch.testing.assert_close(module.average, average)
    assert torch.equal(module.output, network.gave[-1])


@pytest.mark.parametrize("carry", ["output", "average"])
def test_previous_output_feeds_each_stage_with_the_last_ones_image(carry: str) -> None:
    module, network = a_module(a_staged_plan("previous_output"), 3, jitter=0.0, carry=carry, average=Exponential(0.5))
    fit(module)
    if carry == "output":
        expected = network.gave[4]
    else:
        expected = network.gave[0]
        for output in network.gave[1:5]:
            expected = 0.5 * expected + 0.5 * output
    torch.testing.assert_close(network.fed[5], expected)
    torch.testing.assert_close(network.fed[8], expected)
    assert not torch.allclose(network.fed[9], expected)


def test_noise_and_previous_keeps_the_noise_and_feeds_the_average() -> None:
    module, network = a_module(a_staged_plan("noise_and_previous"), 11, jitter=0.0, average=Exponential(0.5))
    fit(module)
    average = network.gave[0]
    for output in network.gave[1:5]:
        average = 0.5 * average + 0.5 * output
    assert torch.equal(network.fed[5][:, :8], network.fed[0][:, :8])
    torch.testing.assert_close(network.fed[5][:, 8:], average)


def test_fixed_noise_is_fed_throughout_with_fresh_jitter() -> None:
    module, network = a_module(a_staged_plan("fixed_noise"), 8, jitter=0.1)
    fit(module)
    differences = torch.stack([b - a for a, b in zip(network.fed, network.fed[1:], strict=False)])
    assert differences.std().item() == pytest.approx(0.1 * 2**0.5, rel=0.05)
    assert torch.stack(network.fed).mean(0).std() < 0.06


def test_a_recorrupted_stage_adds_noise_to_the_input_and_subtracts_it_from_the_target() -> None:
    observed, sigma, alphas = an_image(), 0.2, (0.5, 2.0)
    plan = staged_plan(
        protocol="recorrupted",
        net_input="observed",
        betas=(0.04, 0.001),
        budgets=(60, 60),
        observed=observed,
        level_eps=level_noise(SHAPE, 2, 0),
        alphas=alphas,
        sigma=sigma,
    )
    module, network = a_module(plan, 3, rule=None, monitors={"gain": StageGain(99, 99)}, lr=0.0)
    targets: list[Tensor] = []
    module.loss.register_forward_hook(lambda loss, *_: targets.append(loss.target.clone()))
    fit(module)
    for stage, alpha in enumerate(alphas):
        here = slice(60 * stage, 60 * (stage + 1))
        given = (torch.stack(network.fed[here]) - observed) / alpha
        taken = (observed - torch.stack(targets[here])) * alpha
        torch.testing.assert_close(given, taken, atol=1e-5, rtol=1e-4)
        assert given.std().item() == pytest.approx(sigma, rel=0.02)
        assert given.mean().item() == pytest.approx(0, abs=0.005)
    # Rules observe the target of the stage, without the noise of one iteration.
    before = module.monitors["gain"].state()["tensors"]["before"][0].item()
    assert before == pytest.approx(-10 * ((module.output - observed) ** 2).mean().log10().item(), abs=1e-3)


def test_a_stage_without_iterations_is_skipped() -> None:
    module, network = a_module(a_staged_plan("previous_output", (5, 0, 6)), 3)
    fit(module)
    assert len(network.gave) == module.iteration == 11


def test_bfloat16_leaves_a_float32_image_of_more_than_8_bits() -> None:
    from dip_stages.dip.archs import registry
    from dip_stages.dip.noise import generator

    network = registry.seeded(
        registry.ARCHS["unet"], generator(0), in_channels=8, out_channels=3, size=(16, 16), width=8
    )
    module = BaselineDIP(
        network, baseline_plan(an_image(), 4), MSELoss(), FitSettings(input_channels=8, bfloat16=True), 0
    )
    fit(module)
    assert module.output.dtype == torch.float32
    assert not torch.equal(module.output, module.output.bfloat16().float())


def test_a_fit_stops_within_one_iteration_of_a_long_chunk() -> None:
    module, network = a_module(baseline_plan(an_image(), 1000), 8)
    left = iter(range(7))
    module.should_stop = lambda: next(left, None) is None
    with pytest.raises(Interrupted, match="iterations done: 0"):
        fit(module, chunk=1000)
    assert len(network.gave) == 7


@pytest.mark.parametrize("net_input", ["fixed_noise", "previous_output", "noise_and_previous"])
def test_a_fit_learns_nothing_about_the_pixels_that_are_held_out(net_input: str) -> None:
    held_out = an_image(5)[:, :1] < 0.3

    def fitted(observed: Tensor) -> DIPModule:
        plan = dataclasses.replace(
            a_staged_plan(net_input, protocol="observed"),
            stages=tuple(Stage(0.0, 5, observed, observed) for _ in range(3)),
        )
        network = Tiny(input_channels(net_input, 4, 3))
        settings = FitSettings(lr=0.1, input_channels=4)
        return fit(StagedDIP(network, plan, MSELoss(), settings, 0, held_out=held_out))

    known = fitted(an_image())
    assert torch.equal(known.output, fitted(torch.where(held_out, 1 - an_image(), an_image())).output)
    assert not torch.equal(known.output, fitted(torch.where(held_out, an_image(), 1 - an_image())).output)


def test_the_loss_of_a_fit_is_the_mean_over_the_pixels_that_are_not_held_out() -> None:
    held_out = an_image(5)[:, :1] < 0.3
    network = Tiny(4)
    settings = FitSettings(lr=0.1, input_channels=4)
    module = fit(BaselineDIP(network, baseline_plan(an_image(), 6), MSELoss(), settings, 0, held_out=held_out))
    errors = (network.gave[-1] - an_image())[~held_out.expand(SHAPE)]
    assert module.loss_value.item() == pytest.approx(errors.square().mean().item())


def every_monitor() -> dict[str, Rule]:
    observed = an_image()
    return {
        "discrepancy": Discrepancy(observed, 0.2),
        "held_out": HeldOut(observed, observed[:, :1] < 0.3, patience=4),
        "es_wmv": EsWmv(3, patience=4),
        "es_emv": EsEmv(patience=4),
        "sure": Sure(observed, 0.1, 0, every=2),
        "stage_gain": StageGain(),
        "oracle": Oracle(observed, "average"),
    }


def test_monitors_change_nothing_and_choose_what_they_would_choose_alone() -> None:
    def module(**further: Any) -> DIPModule:
        network = nn.Sequential(Tiny(3).body, nn.BatchNorm2d(3), nn.Sigmoid())
        plan = a_staged_plan("observed")
        return fit(StagedDIP(network, plan, MSELoss(), FitSettings(lr=0.1), 0, **further))

    alone, watched = module(), module(monitors=every_monitor())
    assert torch.equal(alone.output, watched.output)
    assert torch.equal(alone.average, watched.average)
    for ours, theirs in zip(watched.network.state_dict().values(), alone.network.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    for name in every_monitor():
        governed = module(rule=every_monitor()[name])
        assert (governed.chosen.iteration, governed.chosen.decided) == (
            watched.monitored[name].iteration,
            watched.monitored[name].decided,
        )
        assert governed.iteration == watched.monitored[name].spent
        assert torch.equal(governed.chosen.output, watched.monitored[name].output)
        assert torch.equal(governed.chosen.average, watched.monitored[name].average)


def a_rule_that_decides_at(number: int) -> tuple[DIPModule, Tiny]:
    flat = torch.full(SHAPE, 0.25)
    plan = baseline_plan(flat, 60)
    module, network = a_module(plan, 8, jitter=0.0)
    fit(module, chunk=20)
    errors = [float((output - flat).square().mean()) for output in network.gave]
    assert min(errors[: number - 1]) > errors[number - 1]
    return a_module(plan, 8, jitter=0.0, rule=Discrepancy(flat, errors[number - 1] ** 0.5 * 1.000001))


@pytest.mark.parametrize("chunk", [1, 10, 50])
def test_a_rule_that_decides_ends_the_fit_at_that_iteration(chunk: int) -> None:
    module, network = a_rule_that_decides_at(15)
    fit(module, chunk)
    assert module.iteration == module.chosen.iteration == module.chosen.spent == len(network.gave) == 15
    assert torch.equal(module.chosen.output, network.gave[14])


def test_a_fit_that_its_rule_ended_does_not_continue() -> None:
    module, _ = a_rule_that_decides_at(15)
    fit(module, 10)
    saved = module.saved()
    assert saved is not None
    again, network = a_rule_that_decides_at(15)
    again.resume(saved)
    assert again.edge == 60
    fit(again, 10, again.edge)
    assert network.gave == []
    assert again.chosen.iteration == 15
    assert torch.equal(again.chosen.average, module.chosen.average)


def test_the_observed_image_may_be_fed_throughout() -> None:
    module, network = a_module(a_staged_plan("observed"), 3, jitter=0.0)
    fit(module)
    assert all(torch.equal(fed, an_image()) for fed in network.fed)
