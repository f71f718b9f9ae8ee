from __future__ import annotations

import torch

from dip_stages.dip.stopping.held_out import HeldOut
from tests.rules import SHAPE, assert_kept, choice_of, images, some_pixels, views


def test_held_out_keeps_the_average_that_is_nearest_on_the_held_out_pixels() -> None:
    observed, held_out = images(1, seed=9)[0], some_pixels(40)
    outputs = images(20)
    seen = views(outputs)
    choice = choice_of(HeldOut(observed, held_out, patience=100), seen)
    distances = [(view.average - observed)[held_out.expand(SHAPE)].square().mean() for view in seen]
    assert choice.iteration == int(torch.stack(distances).argmin()) + 1
    assert_kept(choice, seen)
    altered = torch.where(held_out, outputs, images(20, seed=3))  # elsewhere
    assert choice_of(HeldOut(observed, held_out, patience=100), views(altered)).iteration == choice.iteration


def test_held_out_restarts_its_patience_in_a_stage_and_keeps_the_minimum() -> None:
    observed = torch.zeros(SHAPE)
    outputs = torch.stack([torch.full(SHAPE, value) for value in (0.5, 0.2, 0.3, 0.3, 0.3, 0.1, 0.2, 0.2, 0.2)])
    rule = HeldOut(observed, some_pixels(9), patience=3)
    at_once = choice_of(rule, views(outputs))
    assert (at_once.iteration, at_once.spent, at_once.decided) == (2, 5, True)
    staged = choice_of(HeldOut(observed, some_pixels(9), patience=3), views(outputs, ends=[4]))
    assert (staged.iteration, staged.spent, staged.decided) == (6, 9, True)
    worse = torch.stack([*outputs[:4], *[torch.full(SHAPE, 0.4)] * 5])
    kept_before = choice_of(HeldOut(observed, some_pixels(9), patience=3), views(worse, ends=[4]))
    assert (kept_before.iteration, kept_before.spent, kept_before.decided) == (2, 7, True)
