"""Outputs of a fit that never ran, as a stopping rule observes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.dip.stopping.base import Choice, Rule, View

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
    raise AssertionError("this rule does not run the network")


def views(
    outputs: Tensor, target: Tensor | None = None, ends: Sequence[int] = (), forward: Callable[..., Tensor] = unseen
) -> list[View]:
    """Views of outputs, each average the output halved, stages ending with the iterations ``ends``."""
    aim = torch.zeros(SHAPE) if target is None else target
    return [View(output, output / 2, aim, number in ends, forward) for number, output in enumerate(outputs, 1)]


def choice_of(rule: Rule, seen: Sequence[View]) -> Choice:
    rule.begin(seen[0].output)
    for view in seen:
        rule.update(view)
        if view.last_of_stage and view is not seen[-1]:
            rule.begin_stage()
    return rule.choice(seen[-1])


def assert_kept(choice: Choice, seen: Sequence[View]) -> None:
    """Both images are those of the iteration that was chosen."""
    assert torch.equal(choice.output, seen[choice.iteration - 1].output)
    assert torch.equal(choice.average, seen[choice.iteration - 1].average)


def some_pixels(count: int) -> Tensor:
    return (torch.arange(256) < count).view(1, 1, 16, 16)
