from __future__ import annotations

import numpy as np
import pytest
import torch

from dip_stages.dip.stopping.variance import EsEmv, EsWmv
from tests.rules import SHAPE, assert_kept, choice_of, images, settling, views


@pytest.mark.parametrize("window", [2, 7])
def test_wmv_is_the_variance_over_the_window(window: int) -> None:
    outputs = settling(40)
    seen = views(outputs)
    variances = [outputs[end - window : end].numpy().astype(np.float64).var(axis=0).mean() for end in range(window, 41)]
    choice = choice_of(EsWmv(window, patience=100), seen)
    assert choice.iteration == int(np.argmin(variances)) + window
    assert (choice.spent, choice.decided) == (40, False)
    assert_kept(choice, seen)


def test_emv_is_the_papers_recursion() -> None:
    outputs = settling(60)
    mean, variance, values = np.zeros(SHAPE), 0.0, []
    for output in outputs.numpy().astype(np.float64):
        delta = output - mean
        mean = mean + 0.1 * delta
        variance = 0.9 * (variance + 0.1 * float((delta**2).mean()))
        values.append(variance)
    seen = views(outputs)
    choice = choice_of(EsEmv(0.1, patience=1000), seen)
    assert choice.iteration == int(np.argmin(values)) + 1
    assert_kept(choice, seen)


def test_wmv_decides_after_its_patience_and_ignores_a_later_minimum() -> None:
    outputs = torch.cat([settling(30), torch.full((10, *SHAPE), 0.5)])
    choice = choice_of(EsWmv(3, patience=8), views(outputs))
    first = choice_of(EsWmv(3, patience=100), views(outputs[:30]))
    assert (choice.iteration, choice.spent, choice.decided) == (first.iteration, first.iteration + 8, True)


def test_wmv_is_reset_by_a_stage() -> None:
    still, moving = torch.full((6, *SHAPE), 0.5), settling(12)
    seen = views(torch.cat([still, moving]), ends=[6])
    choice = choice_of(EsWmv(4, patience=100), seen)
    alone = choice_of(EsWmv(4, patience=100), views(moving))
    assert choice.iteration == alone.iteration + 6
    assert_kept(choice, seen)


def test_wmv_keeps_the_last_stages_choice_if_the_next_has_no_full_window() -> None:
    seen = views(torch.cat([settling(10), images(3)]), ends=[10])
    choice = choice_of(EsWmv(5, patience=100), seen)
    assert choice.iteration == choice_of(EsWmv(5, patience=100), seen[:10]).iteration


def test_emv_is_reset_by_a_stage() -> None:
    first, second = settling(30), settling(50, seed=1)
    choice = choice_of(EsEmv(), views(torch.cat([first, second]), ends=[30]))
    assert choice.iteration == choice_of(EsEmv(), views(second)).iteration + 30
