from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch

from dip_stages.dip.averages import AVERAGES, Average, Exponential, Last, Window

if TYPE_CHECKING:
    from torch import Tensor

OUTPUTS = torch.rand((25, 1, 3, 8, 8), generator=torch.Generator().manual_seed(0))


def test_the_age_of_an_average_is_that_of_its_outputs_by_their_weights() -> None:
    ages = torch.arange(1999, -1, -1, dtype=torch.float32).view(-1, 1, 1, 1, 1)
    for average in (Last(), Exponential(0.95, debias=True), Exponential(0.0), Window(7)):
        assert after(average, ages).item() == pytest.approx(average.age, rel=1e-3, abs=1e-3)


def after(average: Average, outputs: Tensor = OUTPUTS) -> Tensor:
    average.begin(outputs[0])
    for output in outputs:
        average.update(output)
    return average.value


def test_no_average_is_the_last_output() -> None:
    assert torch.equal(after(Last()), OUTPUTS[-1])


def test_the_exponential_average_begins_with_the_first_output() -> None:
    expected = OUTPUTS[0]
    for output in OUTPUTS[1:]:
        expected = 0.8 * expected + 0.2 * output
    torch.testing.assert_close(after(Exponential(0.8)), expected)
    assert torch.equal(after(Exponential(0.8), OUTPUTS[:1]), OUTPUTS[0])


def test_without_bias_outputs_weigh_what_their_age_says() -> None:
    weights = torch.tensor([0.8**age for age in reversed(range(25))])
    expected = (weights.view(-1, 1, 1, 1, 1) * OUTPUTS).sum(dim=0) / weights.sum()
    torch.testing.assert_close(after(Exponential(0.8, debias=True)), expected)
    assert torch.equal(after(Exponential(0.0, debias=True)), OUTPUTS[-1])


@pytest.mark.parametrize("window", [1, 4, 25, 100])
def test_the_window_is_the_mean_of_the_last_outputs(window: int) -> None:
    for count in (1, 3, 25):
        expected = OUTPUTS[max(0, count - window) : count].mean(dim=0)
        torch.testing.assert_close(after(Window(window), OUTPUTS[:count]), expected)


@pytest.mark.parametrize("name", sorted(AVERAGES))
def test_an_average_continues_from_its_state(name: str) -> None:
    first, second = AVERAGES[name](), AVERAGES[name]()
    after(first, OUTPUTS[:7])
    saved = copy.deepcopy(first.state())
    for output in OUTPUTS[7:]:
        first.update(output)
    second.begin(OUTPUTS[0])
    second.restore(saved)
    for output in OUTPUTS[7:]:
        second.update(output)
    assert torch.equal(first.value, second.value)
    assert torch.equal(first.value, after(AVERAGES[name]()))
