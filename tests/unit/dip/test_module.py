from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import nn

from dip_stages.dip.averages import Average, Exponential
from dip_stages.dip.inputs import input_channels
from dip_stages.dip.losses import MSELoss
from dip_stages.dip.methods import AseqDIP, BaselineDIP, StagedDIP
from dip_stages.dip.settings import FitSettings
from dip_stages.dip.stages import Chunks, Stage, StagePlan, baseline_plan, level_noise, staged_plan
from dip_stages.dip.stopping.held_out import HeldOut
from dip_stages.dip.stopping.noise_level import Discrepancy
from dip_stages.dip.stopping.oracle import Oracle
from dip_stages.dip.stopping.risk import Sure
from dip_stages.dip.stopping.stage_gain import StageGain
from dip_stages.dip.stopping.variance import EsEmv, EsWmv
from dip_stages.errors import ConfigError, DivergenceError, Interrupted
from tests.raising import refused

if TYPE_CHECKING:
    from torch import Tensor

    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stopping.base import Rule

SHAPE = (1, 3, 16, 16)


class Tiny(nn.Module):
    """A network of two convolutions that remembers what it was fed and gave."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
        self.fed: list[Tensor] = []
        self.gave: list[Tensor] = []
        self.broken_calls: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.body(x).sigmoid()
        if len(self.gave) in self.broken_calls:
            image = image * torch.nan
        self.fed.append(x.detach().clone())
        self.gave.append(image.detach().clone())
        return image


def an_image(seed: int = 0) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


def a_staged_plan(net_input: str, budgets: tuple[int, ...] = (5, 4, 6), protocol: str = "renoised") -> StagePlan:
    betas = tuple(sorted((0.001 * (i + 1) for i in range(len(budgets))), reverse=True))
    return staged_plan(
        protocol=protocol,
        net_input=net_input,
        betas=betas,
        budgets=budgets,
        observed=an_image(),
        level_eps=level_noise(SHAPE, len(budgets), 0),
    )


def fit(module: DIPModule, chunk: int = 4, start: int = 0) -> DIPModule:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()],
    )
    trainer.fit(module, Chunks(module.plan, chunk, start))
    return module


def a_module(
    plan: StagePlan,
    channels: int,
    seed: int = 0,
    average: Average | None = None,
    rule: Rule | None = None,
    monitors: dict[str, Rule] | None = None,
    **settings: object,
) -> tuple[DIPModule, Tiny]:
    network = Tiny(channels)
    kind: type[DIPModule] = BaselineDIP if len(plan.stages) == 1 else StagedDIP
    if plan.net_input == "own_output":
        kind = AseqDIP
    fitted = FitSettings(input_channels=8, **settings)  # type: ignore[arg-type]
    return kind(network, plan, MSELoss(), fitted, seed, average=average, rule=rule, monitors=monitors), network


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


def test_the_fit_goes_down_to_the_target() -> None:
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


def test_a_recorrupted_stage_feeds_more_noise_and_aims_at_less_anew_each_time() -> None:
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
    # Rules are shown what the stage aims at, not one draw of it.
    before = module.monitors["gain"].state()["tensors"]["before"][0].item()
    assert before == pytest.approx(-10 * ((module.output - observed) ** 2).mean().log10().item(), abs=1e-3)


def test_a_stage_without_iterations_is_skipped() -> None:
    module, network = a_module(a_staged_plan("previous_output", (5, 0, 6)), 3)
    fit(module)
    assert len(network.gave) == module.iteration == 11


def test_a_passing_nan_is_rolled_back_and_no_iteration_is_lost() -> None:
    module, network = a_module(baseline_plan(an_image(), 20), 8)
    network.broken_calls = {6}
    fit(module, chunk=5)
    assert module.rollbacks == 1
    assert module.iteration == 20
    assert len(network.gave) == 25
    assert module.output.isfinite().all()
    assert module.average.isfinite().all()
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_a_lasting_nan_fails_in_the_last_good_state() -> None:
    module, network = a_module(baseline_plan(an_image(), 20), 8, attempts=2)
    network.broken_calls = set(range(10, 1000))
    with pytest.raises(DivergenceError) as caught:
        fit(module, chunk=5)
    assert caught.value.last_good == 10
    reference, _ = a_module(baseline_plan(an_image(), 10), 8)
    fit(reference, chunk=5)
    assert torch.equal(module.output, reference.output)
    assert torch.equal(module.average, reference.average)
    for ours, theirs in zip(module.network.parameters(), reference.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_bfloat16_leaves_a_float32_image_of_more_than_8_bits() -> None:
    from dip_stages.dip.archs import registry
    from dip_stages.dip.noise import generator

    network = registry.seeded("unet", generator(0), in_channels=8, out_channels=3, size=(16, 16), width=8)
    module = BaselineDIP(
        network, baseline_plan(an_image(), 4), MSELoss(), FitSettings(input_channels=8, bfloat16=True), 0
    )
    fit(module)
    assert module.output.dtype == torch.float32
    assert not torch.equal(module.output, module.output.bfloat16().float())


def stop_after(module: DIPModule, iterations: int) -> dict[str, Any]:
    left = iter(range(iterations))
    module.should_stop = lambda: next(left, None) is None
    with pytest.raises(Interrupted):
        fit(module)
    saved = module.saved()
    assert saved is not None
    return saved


# The first stage ends at iteration 5; edges are 4, 5, 8, 9, 12, 15.
@pytest.mark.parametrize(("stop", "edge"), [(3, 0), (4, 4), (5, 5), (6, 5), (8, 8), (9, 9), (11, 9), (14, 12)])
@pytest.mark.parametrize(("net_input", "channels"), [("previous_output", 3), ("noise_and_previous", 11)])
def test_a_resumed_fit_is_fed_and_gives_what_an_undisturbed_one_does(
    net_input: str, channels: int, stop: int, edge: int
) -> None:
    whole, everything = a_module(a_staged_plan(net_input), channels)
    fit(whole)
    first, before = a_module(a_staged_plan(net_input), channels)
    saved = stop_after(first, stop)
    assert len(before.gave) == stop
    assert saved["iteration"] == edge
    second, after = a_module(a_staged_plan(net_input), channels)
    second.resume(saved)
    fit(second, start=edge)
    assert len(after.fed) == 15 - edge
    for ours, theirs in zip(after.fed, everything.fed[edge:], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(second.output, whole.output)
    assert torch.equal(second.average, whole.average)
    assert torch.equal(second.loss_value, whole.loss_value)
    for ours, theirs in zip(after.parameters(), everything.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_stop_is_heard_within_one_iteration_of_a_long_chunk() -> None:
    module, network = a_module(baseline_plan(an_image(), 1000), 8)
    left = iter(range(7))
    module.should_stop = lambda: next(left, None) is None
    with pytest.raises(Interrupted, match="iterations done: 0"):
        fit(module, chunk=1000)
    assert len(network.gave) == 7


def test_a_rollback_before_the_stop_happens_again_with_the_same_jitter() -> None:
    whole, everything = a_module(baseline_plan(an_image(), 12), 8)
    everything.broken_calls = {7}
    fit(whole)
    first, before = a_module(baseline_plan(an_image(), 12), 8)
    before.broken_calls = {7}
    saved = stop_after(first, 10)  # two iterations into the second try of the second chunk
    assert (first.rollbacks, saved["count"], saved["iteration"]) == (1, 0, 4)
    second, after = a_module(baseline_plan(an_image(), 12), 8)
    after.broken_calls = {3}
    second.resume(saved)
    fit(second, start=4)
    assert second.rollbacks == whole.rollbacks == 1
    assert torch.equal(second.output, whole.output)


@pytest.mark.parametrize("net_input", ["fixed_noise", "previous_output", "noise_and_previous"])
def test_a_fit_learns_nothing_of_the_pixels_that_are_held_out(net_input: str) -> None:
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


def test_the_loss_of_a_fit_is_the_mean_over_the_pixels_that_it_sees() -> None:
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


def test_monitors_alter_nothing_and_choose_what_they_would_choose_alone() -> None:
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
def test_a_rule_that_decides_ends_the_fit_at_that_very_iteration(chunk: int) -> None:
    module, network = a_rule_that_decides_at(15)
    fit(module, chunk)
    assert module.iteration == module.chosen.iteration == module.chosen.spent == len(network.gave) == 15
    assert torch.equal(module.chosen.output, network.gave[14])


def test_a_fit_that_its_rule_ended_is_not_gone_on_with() -> None:
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


def test_what_was_rolled_back_no_rule_has_seen() -> None:
    whole, _ = a_module(a_staged_plan("previous_output"), 3, monitors={"last": EsEmv(patience=4)})
    fit(whole)
    rolled, network = a_module(a_staged_plan("previous_output"), 3, monitors={"last": EsEmv(patience=4)})
    network.broken_calls = {6}
    fit(rolled)
    assert rolled.rollbacks == 1
    assert len(network.gave) > 15
    assert rolled.monitors["last"].state()["counts"] == whole.monitors["last"].state()["counts"] == {"iterations": 15}


def test_the_observed_image_may_be_fed_throughout() -> None:
    module, network = a_module(a_staged_plan("observed"), 3, jitter=0.0)
    fit(module)
    assert all(torch.equal(fed, an_image()) for fed in network.fed)


def test_aseqdip_is_fed_its_own_output_and_held_near_to_it() -> None:
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
def test_a_resumed_aseqdip_gives_what_an_undisturbed_one_does(edge: int) -> None:
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
