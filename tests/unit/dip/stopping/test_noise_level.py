from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from dip_stages.dip.stopping.noise_level import Discrepancy, Residual
from tests.rules import SHAPE, assert_kept, choice_of, images, some_pixels, views

if TYPE_CHECKING:
    from torch import Tensor


def test_discrepancy_keeps_the_first_output_within_the_noise() -> None:
    observed = torch.full(SHAPE, 0.5)
    distances = [0.3, 0.2, 0.1, 0.05, 0.2, 0.01]
    outputs = torch.stack([observed + distance for distance in distances])
    seen = views(outputs, ends=[2])
    for sigma, tau, first in [(0.1001, 1.0, 3), (0.06, 1.0, 4), (0.25, 1.0, 2), (0.1, 0.3, 4)]:
        choice = choice_of(Discrepancy(observed, sigma, tau), seen)
        assert (choice.iteration, choice.spent, choice.decided) == (first, first, True)
        assert_kept(choice, seen)


def test_discrepancy_that_is_never_reached_keeps_the_last_output() -> None:
    seen = views(images(4))
    choice = choice_of(Discrepancy(torch.full(SHAPE, 9.0), 0.1), seen)
    assert (choice.iteration, choice.spent, choice.decided) == (4, 4, False)
    assert_kept(choice, seen)


def test_residual_keeps_the_lowest_smoothed_distance_to_the_observed_image() -> None:
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
    choice = choice_of(Residual(observed, decay, patience=5), seen)
    assert (choice.iteration, choice.spent, choice.decided) == (lowest, lowest + 5, True)
    assert_kept(choice, seen)


def test_residual_is_reset_by_a_stage_at_any_distance() -> None:
    observed = torch.full(SHAPE, 0.5)

    def falling_and_rising(level: float) -> Tensor:
        distances = torch.cat([torch.linspace(0.3, 0.1, 12), torch.linspace(0.1, 0.2, 8)]) + level
        return observed + distances.view(-1, 1, 1, 1, 1)

    first, second = falling_and_rising(0.0)[:12], falling_and_rising(0.5)
    seen = views(torch.cat([first, second]), ends=[12])
    choice = choice_of(Residual(observed, 0.5, patience=4), seen)
    alone = choice_of(Residual(observed, 0.5, patience=4), views(second))
    assert (choice.iteration, choice.spent) == (alone.iteration + 12, alone.spent + 12)


def test_residual_ignores_its_first_values() -> None:
    observed = torch.full(SHAPE, 0.5)
    outputs = observed + torch.tensor([0.0, 0.4, 0.4, 0.4, 0.3, 0.2, 0.2]).view(-1, 1, 1, 1, 1)
    assert choice_of(Residual(observed, 0.75, patience=2), views(outputs)).iteration == 7
    short = choice_of(Residual(observed, 0.75, patience=2), views(outputs[:3]))
    assert (short.iteration, short.decided) == (3, False)


def test_discrepancy_continues_for_its_lag_and_keeps_the_last_iteration() -> None:
    observed = torch.full(SHAPE, 0.5)
    distances = [0.3, 0.1, 0.2, 0.05, 0.3, 0.3, 0.3]
    seen = views(torch.stack([observed + distance for distance in distances]))
    for lag, number in ((0, 2), (1, 3), (4, 6)):
        choice = choice_of(Discrepancy(observed, 0.1001, lag=lag), seen)
        assert (choice.iteration, choice.spent, choice.decided) == (number, number, True)
        assert_kept(choice, seen)
    late = choice_of(Discrepancy(observed, 0.1001, lag=6), seen)
    assert (late.iteration, late.decided) == (7, False)


def test_discrepancy_leaves_out_the_pixels_that_are_held_out() -> None:
    observed, held_out = torch.full(SHAPE, 0.5), some_pixels(40)
    outputs = torch.stack([torch.where(held_out, 9.0, observed + distance) for distance in (0.3, 0.11, 0.09, 0.0)])
    assert choice_of(Discrepancy(observed, 0.1, held_out=held_out), views(outputs)).iteration == 3
