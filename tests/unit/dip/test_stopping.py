from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dip_stages.dip.stopping.base import Choice, Rule, View
from dip_stages.dip.stopping.held_out import HeldOut
from dip_stages.dip.stopping.noise_level import Discrepancy, Residual
from dip_stages.dip.stopping.oracle import Oracle
from dip_stages.dip.stopping.risk import Sure
from dip_stages.dip.stopping.stage_gain import StageGain
from dip_stages.dip.stopping.variance import EsEmv, EsWmv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

SHAPE = (1, 3, 16, 16)


def images(count: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.rand((count, *SHAPE), generator=torch.Generator().manual_seed(seed)) * scale


def settling(count: int, seed: int = 0) -> Tensor:
    """Outputs that vary less and less up to the middle, and more and more from there."""
    wobble = (torch.arange(count) - count // 2).abs() / count + 0.01
    return 0.5 + images(count, seed) * wobble.view(-1, 1, 1, 1, 1)


def unseen(_: Tensor | None) -> Tensor:
    raise AssertionError("this rule has no business with the network")


def views(
    outputs: Tensor, target: Tensor | None = None, ends: Sequence[int] = (), forward: Callable[..., Tensor] = unseen
) -> list[View]:
    """Views of outputs, each average the output halved, stages ending with the iterations ``ends``."""
    aim = torch.zeros(SHAPE) if target is None else target
    return [View(output, output / 2, aim, number in ends, forward) for number, output in enumerate(outputs, 1)]


def read(rule: Rule, seen: Sequence[View]) -> Choice:
    rule.begin(seen[0].output)
    for view in seen:
        rule.update(view)
        if view.last_of_stage and view is not seen[-1]:
            rule.begin_stage()
    return rule.choice(seen[-1])


def kept(choice: Choice, seen: Sequence[View]) -> None:
    """Both images are those of the iteration that was chosen."""
    assert torch.equal(choice.output, seen[choice.iteration - 1].output)
    assert torch.equal(choice.average, seen[choice.iteration - 1].average)


def test_discrepancy_takes_the_first_output_within_the_noise() -> None:
    observed = torch.full(SHAPE, 0.5)
    distances = [0.3, 0.2, 0.1, 0.05, 0.2, 0.01]
    outputs = torch.stack([observed + distance for distance in distances])
    seen = views(outputs, ends=[2])
    for sigma, tau, first in [(0.1001, 1.0, 3), (0.06, 1.0, 4), (0.25, 1.0, 2), (0.1, 0.3, 4)]:
        choice = read(Discrepancy(observed, sigma, tau), seen)
        assert (choice.iteration, choice.spent, choice.decided) == (first, first, True)
        kept(choice, seen)


def test_discrepancy_that_never_comes_keeps_the_last() -> None:
    seen = views(images(4))
    choice = read(Discrepancy(torch.full(SHAPE, 9.0), 0.1), seen)
    assert (choice.iteration, choice.spent, choice.decided) == (4, 4, False)
    kept(choice, seen)


def test_residual_takes_the_lowest_smoothed_distance_to_the_observed_image() -> None:
    observed, decay = torch.full(SHAPE, 0.5), 0.7
    wobble = images(30, seed=4) * 0.02
    distances = torch.cat([torch.linspace(0.5, 0.1, 18), torch.linspace(0.1, 0.3, 12)])
    outputs = observed + distances.view(-1, 1, 1, 1, 1) + wobble
    smooth, values = 0.0, []
    for number, output in enumerate(outputs.numpy().astype(np.float64), 1):
        smooth = decay * smooth + (1 - decay) * float(((output - 0.5) ** 2).mean())
        values.append(smooth / (1 - decay**number))
    lowest = int(np.argmin(values)) + 1
    assert 18 < lowest < 23
    seen = views(outputs)
    choice = read(Residual(observed, decay, patience=5), seen)
    assert (choice.iteration, choice.spent, choice.decided) == (lowest, lowest + 5, True)
    kept(choice, seen)


def test_residual_begins_anew_with_a_stage_however_far_off_that_is() -> None:
    observed = torch.full(SHAPE, 0.5)

    def falling_and_rising(level: float) -> Tensor:
        distances = torch.cat([torch.linspace(0.3, 0.1, 12), torch.linspace(0.1, 0.2, 8)]) + level
        return observed + distances.view(-1, 1, 1, 1, 1)

    first, second = falling_and_rising(0.0)[:12], falling_and_rising(0.5)
    seen = views(torch.cat([first, second]), ends=[12])
    choice = read(Residual(observed, 0.5, patience=4), seen)
    alone = read(Residual(observed, 0.5, patience=4), views(second))
    assert (choice.iteration, choice.spent) == (alone.iteration + 12, alone.spent + 12)


def test_residual_does_not_go_by_its_first_values() -> None:
    observed = torch.full(SHAPE, 0.5)
    outputs = observed + torch.tensor([0.0, 0.4, 0.4, 0.4, 0.3, 0.2, 0.2]).view(-1, 1, 1, 1, 1)
    assert read(Residual(observed, 0.75, patience=2), views(outputs)).iteration == 7
    short = read(Residual(observed, 0.75, patience=2), views(outputs[:3]))
    assert (short.iteration, short.decided) == (3, False)


@pytest.mark.parametrize("window", [2, 7])
def test_wmv_is_the_variance_over_the_window(window: int) -> None:
    outputs = settling(40)
    seen = views(outputs)
    variances = [outputs[end - window : end].numpy().astype(np.float64).var(axis=0).mean() for end in range(window, 41)]
    choice = read(EsWmv(window, patience=100), seen)
    assert choice.iteration == int(np.argmin(variances)) + window
    assert (choice.spent, choice.decided) == (40, False)
    kept(choice, seen)


def test_wmv_ends_after_its_patience_and_takes_no_later_minimum() -> None:
    outputs = torch.cat([settling(30), torch.full((10, *SHAPE), 0.5)])
    choice = read(EsWmv(3, patience=8), views(outputs))
    first = read(EsWmv(3, patience=100), views(outputs[:30]))
    assert (choice.iteration, choice.spent, choice.decided) == (first.iteration, first.iteration + 8, True)


def test_wmv_begins_anew_with_a_stage() -> None:
    still, moving = torch.full((6, *SHAPE), 0.5), settling(12)
    seen = views(torch.cat([still, moving]), ends=[6])
    choice = read(EsWmv(4, patience=100), seen)
    alone = read(EsWmv(4, patience=100), views(moving))
    assert choice.iteration == alone.iteration + 6
    kept(choice, seen)


def test_wmv_keeps_the_last_stages_choice_where_the_next_has_no_full_window() -> None:
    seen = views(torch.cat([settling(10), images(3)]), ends=[10])
    choice = read(EsWmv(5, patience=100), seen)
    assert choice.iteration == read(EsWmv(5, patience=100), seen[:10]).iteration


def test_emv_is_the_papers_recursion() -> None:
    outputs = settling(60)
    mean, variance, values = np.zeros(SHAPE), 0.0, []
    for output in outputs.numpy().astype(np.float64):
        delta = output - mean
        mean = mean + 0.1 * delta
        variance = 0.9 * (variance + 0.1 * float((delta**2).mean()))
        values.append(variance)
    seen = views(outputs)
    choice = read(EsEmv(0.1, patience=1000), seen)
    assert choice.iteration == int(np.argmin(values)) + 1
    kept(choice, seen)


def test_emv_begins_anew_with_a_stage() -> None:
    first, second = settling(30), settling(50, seed=1)
    choice = read(EsEmv(), views(torch.cat([first, second]), ends=[30]))
    assert choice.iteration == read(EsEmv(), views(second)).iteration + 30


class Shrinking:
    """A network that shrinks what it is fed: its divergence is known."""

    def __init__(self, observed: Tensor, factors: Sequence[float]) -> None:
        self.observed, self.factors = observed, factors
        self.at = 0

    def __call__(self, perturbation: Tensor | None) -> Tensor:
        fed = self.observed if perturbation is None else self.observed + perturbation
        return self.factors[self.at] * fed


def test_discrepancy_goes_on_for_its_lag_and_keeps_what_there_is_then() -> None:
    observed = torch.full(SHAPE, 0.5)
    distances = [0.3, 0.1, 0.2, 0.05, 0.3, 0.3, 0.3]
    seen = views(torch.stack([observed + distance for distance in distances]))
    for lag, number in ((0, 2), (1, 3), (4, 6)):
        choice = read(Discrepancy(observed, 0.1001, lag=lag), seen)
        assert (choice.iteration, choice.spent, choice.decided) == (number, number, True)
        kept(choice, seen)
    late = read(Discrepancy(observed, 0.1001, lag=6), seen)
    assert (late.iteration, late.decided) == (7, False)


def test_discrepancy_leaves_out_what_the_fit_does_not_see() -> None:
    observed, held_out = torch.full(SHAPE, 0.5), some_pixels(40)
    outputs = torch.stack([torch.where(held_out, 9.0, observed + distance) for distance in (0.3, 0.11, 0.09, 0.0)])
    assert read(Discrepancy(observed, 0.1, held_out=held_out), views(outputs)).iteration == 3


def some_pixels(count: int) -> Tensor:
    return (torch.arange(256) < count).view(1, 1, 16, 16)


def test_held_out_takes_the_average_that_is_nearest_where_the_fit_has_not_seen() -> None:
    observed, held_out = images(1, seed=9)[0], some_pixels(40)
    outputs = images(20)
    seen = views(outputs)
    choice = read(HeldOut(observed, held_out, patience=100), seen)
    distances = [(view.average - observed)[held_out.expand(SHAPE)].square().mean() for view in seen]
    assert choice.iteration == int(torch.stack(distances).argmin()) + 1
    kept(choice, seen)
    altered = torch.where(held_out, outputs, images(20, seed=3))  # elsewhere
    assert read(HeldOut(observed, held_out, patience=100), views(altered)).iteration == choice.iteration


def test_held_out_waits_anew_in_a_stage_and_keeps_the_lowest_of_all() -> None:
    observed = torch.zeros(SHAPE)
    outputs = torch.stack([torch.full(SHAPE, value) for value in (0.5, 0.2, 0.3, 0.3, 0.3, 0.1, 0.2, 0.2, 0.2)])
    rule = HeldOut(observed, some_pixels(9), patience=3)
    at_once = read(rule, views(outputs))
    assert (at_once.iteration, at_once.spent, at_once.decided) == (2, 5, True)
    staged = read(HeldOut(observed, some_pixels(9), patience=3), views(outputs, ends=[4]))
    assert (staged.iteration, staged.spent, staged.decided) == (6, 9, True)
    worse = torch.stack([*outputs[:4], *[torch.full(SHAPE, 0.4)] * 5])
    kept_before = read(HeldOut(observed, some_pixels(9), patience=3), views(worse, ends=[4]))
    assert (kept_before.iteration, kept_before.spent, kept_before.decided) == (2, 7, True)


def test_sure_estimates_the_risk_and_takes_its_lowest() -> None:
    clean = torch.zeros((1, 1, 128, 128)) + 0.5
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    observed, factors = clean + 0.5 * noise, [0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
    network = Shrinking(observed, factors)
    rule = Sure(observed, 0.5, 0, every=1, patience=100)
    rule.begin(observed)
    risks = []
    for number, factor in enumerate(factors):
        network.at = number
        view = View(factor * observed, observed, observed, False, network)
        rule.update(view)
        risks.append(float(((factor * observed - clean) ** 2).mean()))
        # Counted as above: the estimate for iteration `number + 1`.
        assert float(rule._risk(view)) == pytest.approx(risks[-1], abs=0.01)
    assert rule.choice(view).iteration == int(np.argmin(risks)) + 1


def test_sure_looks_only_now_and_then() -> None:
    observed = torch.zeros(SHAPE)
    calls: list[bool] = []

    def forward(perturbation: Tensor | None) -> Tensor:
        calls.append(perturbation is None)
        return torch.zeros(SHAPE)

    choice = read(Sure(observed, 0.1, 0, every=4), views(images(11), forward=forward))
    assert calls == [True, False] * 2
    assert choice.iteration == 4


def test_stage_gain_is_that_of_the_reports_figures() -> None:
    target = images(1, seed=5)[0]
    outputs = torch.stack([target + error for error in (0.5, 0.2, 0.21, 0.1, 0.0999, 0.05)])
    seen = views(outputs, target, ends=[2, 4, 5, 6])
    figures = [
        (
            peak_signal_noise_ratio(target[0].numpy(), outputs[end - 1][0].numpy(), data_range=1),
            structural_similarity(
                target[0].numpy(), outputs[end - 1][0].numpy(), data_range=1, channel_axis=0,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            ),
        )
        for end in (2, 4, 5, 6)
    ]  # fmt: skip
    gains = np.diff(figures, axis=0)
    assert gains[1][0] < 0.05 < gains[0][0]
    choice = read(StageGain(0.05, 0.001), seen)
    assert (choice.iteration, choice.spent, choice.decided) == (5, 5, True)
    kept(choice, seen)
    patient = read(StageGain(0.0, 0.0), seen)
    assert (patient.iteration, patient.decided) == (6, False)


@pytest.mark.parametrize("of", ["output", "average"])
def test_the_oracle_takes_the_nearest_to_the_clean_image_and_says_what_it_is(of: str) -> None:
    outputs, clean = images(20), images(1, seed=9)[0]
    seen = views(outputs, ends=[10])
    choice = read(rule := Oracle(clean, of), seen)
    distances = [float((getattr(view, of) - clean).square().mean()) for view in seen]
    assert choice.iteration == int(np.argmin(distances)) + 1
    assert rule.needs_clean
    kept(choice, seen)


def rules() -> dict[str, Rule]:
    observed = torch.full(SHAPE, 0.5)
    return {
        "discrepancy": Discrepancy(observed, 0.1),
        "discrepancy with a lag": Discrepancy(observed, 0.25, lag=9, held_out=some_pixels(40)),
        "residual": Residual(observed, 0.8, patience=6),
        "held_out": HeldOut(observed, some_pixels(40), patience=6),
        "es_wmv": EsWmv(4, patience=6),
        "es_emv": EsEmv(patience=6),
        "sure": Sure(observed, 0.1, 3, every=2, patience=6),
        "stage_gain": StageGain(),
        "oracle": Oracle(observed, "average"),
    }


@pytest.mark.parametrize("name", sorted(rules()))
@pytest.mark.parametrize("at", [1, 7, 13, 24])
def test_a_rule_goes_on_from_its_state(name: str, at: int) -> None:
    def forward(perturbation: Tensor | None) -> Tensor:
        return torch.full(SHAPE, 0.4) if perturbation is None else 0.4 + 0.5 * perturbation

    seen = views(settling(30, seed=2), torch.full(SHAPE, 0.5), ends=[10, 20], forward=forward)
    expected = read(rules()[name], seen)
    first, second = rules()[name], rules()[name]
    first.begin(seen[0].output)
    second.begin(seen[0].output)

    def show(rule: Rule, some: Sequence[View]) -> None:
        for view in some:
            rule.update(view)
            if view.last_of_stage:
                rule.begin_stage()

    show(first, seen[:at])
    saved: dict[str, Any] = copy.deepcopy(first.state())
    show(first, seen[at:])  # what comes later must not touch what was saved
    second.restore(saved)
    show(second, seen[at:])
    found = second.choice(seen[-1])
    assert (found.iteration, found.spent, found.decided) == (expected.iteration, expected.spent, expected.decided)
    assert torch.equal(found.output, expected.output)
    assert torch.equal(found.average, expected.average)
