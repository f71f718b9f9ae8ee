from __future__ import annotations

import pytest
import torch

from dip_stages.dip.stages import baseline_plan
from dip_stages.dip.state import copied
from dip_stages.dip.stopping.variance import EsEmv
from dip_stages.errors import DivergenceError
from tests.fitting import a_module, a_staged_plan, an_image, fit, stop_after


# The first stage ends at iteration 5; edges are 4, 5, 8, 9, 12, 15.
@pytest.mark.parametrize(("stop", "edge"), [(3, 0), (4, 4), (5, 5), (6, 5), (8, 8), (9, 9), (11, 9), (14, 12)])
@pytest.mark.parametrize(("net_input", "channels"), [("previous_output", 3), ("noise_and_previous", 11)])
def test_a_resumed_fit_is_fed_and_gives_the_same_as_an_uninterrupted_one(
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


def test_a_rollback_before_the_stop_is_repeated_with_the_same_jitter() -> None:
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


def test_no_rule_observes_what_was_rolled_back() -> None:
    whole, _ = a_module(a_staged_plan("previous_output"), 3, monitors={"last": EsEmv(patience=4)})
    fit(whole)
    rolled, network = a_module(a_staged_plan("previous_output"), 3, monitors={"last": EsEmv(patience=4)})
    network.broken_calls = {6}
    fit(rolled)
    assert rolled.rollbacks == 1
    assert len(network.gave) > 15
    assert rolled.monitors["last"].state()["counts"] == whole.monitors["last"].state()["counts"] == {"iterations": 15}


def test_a_copied_state_shares_no_memory_and_keeps_layout_and_values() -> None:
    weights = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    state = {"network": {"w": weights}, "optimiser": {"groups": [{"lr": 0.1, "betas": (0.9, torch.ones(1))}]}, "n": 3}
    made = copied(state)
    kept = weights.detach().clone()
    with torch.no_grad():
        weights.zero_()
    state["optimiser"]["groups"][0]["lr"] = 1.0  # type: ignore[index]
    assert torch.equal(made["network"]["w"], kept)
    assert made["network"]["w"].is_contiguous(memory_format=torch.channels_last)
    assert made["optimiser"]["groups"] == [{"lr": 0.1, "betas": (0.9, torch.ones(1))}]
    assert made["n"] == 3
