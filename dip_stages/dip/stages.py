"""The plan of a fit: its stages, the target of each, and what the network is fed.

Only :func:`staged_plan` takes the clean image, and only under the protocol ``clean``; :attr:`StagePlan.sees_clean` is
true for such a plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dip_stages.dip.inputs import INPUTS
from dip_stages.dip.noise import ObservationStream, noised, standard_normal
from dip_stages.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = [
    "PROTOCOLS",
    "Chunk",
    "Chunks",
    "Stage",
    "StagePlan",
    "baseline_plan",
    "level_noise",
    "staged_plan",
]

PROTOCOLS = ("clean", "renoised", "observed", "recorrupted")
r"""How the targets of the stages are made.

Each is a level :math:`\sqrt{1-\beta}\,x + \sqrt{\beta}\,\epsilon`, or the observed image y:

- ``clean``: levels of the clean image, which leaks the answer.
- ``renoised``: levels of the observed image; the last stage that has iterations is fitted to y itself.
- ``observed``: y in every stage.
- ``recorrupted``: at each iteration the input is :math:`y + \alpha n` and the target :math:`y - n / \alpha`. Each n is
  a new draw of the observation's noise, so the noises of input and target are independent (Pang et al., CVPR 2021).
  The noise of the target, :math:`\sigma^2 (1 + 1 / \alpha^2)`, falls as :math:`\alpha` rises.
"""


@dataclass(frozen=True)
class Stage:
    r"""One stage of a plan.

    Attributes:
        beta: Noise variance of the level, on the [0, 1] scale; 0 for the only stage of a baseline.
        budget: Iterations, >= 0; 0 skips the stage.
        target: ``(1, C, H, W)``, what the output is fitted to, unclipped.
        reference: What a perceptual loss compares with: the target, or the clean image with ``loss.reference=clean``.
        alpha: :math:`\alpha`, > 0, of a recorrupted stage; None for a stage with a fixed target.
    """

    beta: float
    budget: int
    target: Tensor
    reference: Tensor
    alpha: float | None = None


class Chunk(NamedTuple):
    """Iterations ``start`` to ``stop`` (exclusive) of stage number ``stage``: one step of the trainer."""

    stage: int
    start: int
    stop: int


@dataclass(frozen=True)
class StagePlan:
    """The stages of a fit in the order of training, noisiest first.

    Attributes:
        stages: At least one; together at least one iteration.
        net_input: One of :data:`dip_stages.dip.inputs.INPUTS`.
        sees_clean: Whether any target or reference was made from the clean image; such a fit reproduces the course
            report and denoises nothing.
        first_input: What the first stage feeds to the network, ``(1, C, H, W)``; None for noise.
        sigma: Standard deviation of the noise of recorrupted stages; 0 if there are none.

    Raises:
        ConfigError: If the input is unknown, or the plan has no iteration.
    """

    stages: tuple[Stage, ...]
    net_input: str
    sees_clean: bool
    first_input: Tensor | None = None
    sigma: float = 0.0

    def __post_init__(self) -> None:
        check_choice("method.input", self.net_input, INPUTS)
        if self.iterations < 1:
            raise ConfigError(
                setting="budget", got=[stage.budget for stage in self.stages], allowed="at least one iteration"
            )

    @property
    def iterations(self) -> int:
        """Iterations of the whole plan."""
        return sum(stage.budget for stage in self.stages)


@dataclass(frozen=True)
class Chunks:
    """A plan in chunks, whose edges are the multiples of ``size`` and the ends of stages.

    The edges depend on the iteration alone, so a fit that resumes at an edge has the same edges from there.

    Attributes:
        plan: The stages.
        size: Iterations between two edges, >= 1.
        start: The edge to begin at: a multiple of ``size`` or the end of a stage.
    """

    plan: StagePlan
    size: int
    start: int = 0

    def __iter__(self) -> Iterator[Chunk]:
        start = 0
        for index, stage in enumerate(self.plan.stages):
            end = start + stage.budget
            while start < end:
                stop = min(end, start - start % self.size + self.size)
                if start >= self.start:
                    yield Chunk(index, start, stop)
                start = stop


def baseline_plan(observed: Tensor, iterations: int, *, net_input: str = "fixed_noise") -> StagePlan:
    """Return plain Deep Image Prior: one stage, the observed image as target, a fixed noise input.

    Ulyanov, Vedaldi and Lempitsky, 2018 (arXiv 1711.10925).

    Args:
        observed: ``(1, C, H, W)``.
        iterations: Optimiser steps, >= 1.
        net_input: One of :data:`dip_stages.dip.inputs.INPUTS`; a single stage has no previous output to feed.

    Raises:
        ConfigError: If the input is unknown, or there is no iteration.
    """
    stage = Stage(0.0, iterations, observed, observed)
    return StagePlan((stage,), net_input, sees_clean=False, first_input=_first_input(net_input, observed))


def staged_plan(
    *,
    protocol: str,
    net_input: str,
    betas: Sequence[float],
    budgets: Sequence[int],
    observed: Tensor,
    level_eps: Sequence[Tensor],
    clean: Tensor | None = None,
    perceptual_reference: str = "target",
    alphas: Sequence[float] | None = None,
    sigma: float | None = None,
) -> StagePlan:
    r"""Return the stages of guided DIP, noisiest first.

    Args:
        protocol: One of :data:`PROTOCOLS`.
        net_input: One of :data:`dip_stages.dip.inputs.INPUTS`.
        betas: Noise variances, descending.
        budgets: Iterations of each stage.
        observed: y, ``(1, C, H, W)``.
        level_eps: :math:`\epsilon` of each stage, from :func:`level_noise`.
        clean: ``(1, C, H, W)``, for the protocol ``clean`` only.
        perceptual_reference: ``target``, or ``clean`` for the protocol ``clean`` only.
        alphas: :math:`\alpha` of each stage, for ``recorrupted`` only.
        sigma: Standard deviation of n, for ``recorrupted`` only.

    Raises:
        ConfigError: If the protocol or the input is unknown, the lengths differ, an argument of another protocol is
            given or one of this protocol is missing, or there is no iteration.
    """
    _check_protocol(protocol, perceptual_reference, clean, alphas, sigma)
    _check_lengths(betas=betas, budgets=budgets, draws=level_eps, alphas=alphas)
    targets = _targets(protocol, observed if clean is None else clean, observed, betas, budgets, level_eps)
    references = targets if perceptual_reference == "target" or clean is None else [clean] * len(targets)
    each_alpha: Sequence[float | None] = [None] * len(targets) if alphas is None else alphas
    stages = tuple(map(Stage, betas, budgets, targets, references, each_alpha))
    first = _first_input(net_input, observed)
    return StagePlan(stages, net_input, sees_clean=protocol == "clean", first_input=first, sigma=sigma or 0.0)


def _check_protocol(
    protocol: str,
    perceptual_reference: str,
    clean: Tensor | None,
    alphas: Sequence[float] | None,
    sigma: float | None,
) -> None:
    check_choice("protocol.name", protocol, PROTOCOLS)
    check_choice("loss.reference", perceptual_reference, ("target", "clean") if protocol == "clean" else ("target",))
    if (clean is None) == (protocol == "clean"):
        raise ConfigError(
            "; the clean image belongs to protocol=clean and to no other", setting="protocol", got=protocol
        )
    if len({protocol == "recorrupted", alphas is not None, sigma is not None}) != 1:
        raise ConfigError(
            "; alphas and sigma belong to protocol=recorrupted and to no other", setting="protocol", got=protocol
        )


def _check_lengths(**sequences: Sequence[object] | None) -> None:
    lengths = {name: len(values) for name, values in sequences.items() if values is not None}
    if len(set(lengths.values())) != 1:
        raise ConfigError(setting="stages", got=lengths, allowed="equal numbers")


def _targets(
    protocol: str,
    source: Tensor,
    observed: Tensor,
    betas: Sequence[float],
    budgets: Sequence[int],
    level_eps: Sequence[Tensor],
) -> list[Tensor]:
    if protocol in ("observed", "recorrupted"):
        return [observed] * len(betas)
    targets = [noised(source, beta, eps, keep_variance=True) for beta, eps in zip(betas, level_eps, strict=True)]
    if protocol == "renoised":
        last = max((index for index, budget in enumerate(budgets) if budget), default=len(targets) - 1)
        targets[last:] = [observed] * (len(targets) - last)
    return targets


def _first_input(net_input: str, observed: Tensor) -> Tensor | None:
    return observed if net_input in ("observed", "own_output") else None


def level_noise(shape: tuple[int, ...], stages: int, noise_seed: int) -> tuple[Tensor, ...]:
    """Return a standard normal draw for each stage, independent of the observation's noise.

    Args:
        shape: Of the observed image.
        stages: How many.
        noise_seed: >= 0.
    """
    return tuple(standard_normal(shape, noise_seed, ObservationStream.STAGE, stage) for stage in range(stages))
