"""The plan of a fit: its stages, what each is fitted to, and what the network is fed.

Data flows in as tensors and numbers; the clean image appears in :func:`staged_plan` alone, and only when the
protocol is ``clean``, which says so in :attr:`StagePlan.sees_clean`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dip_stages.dip.noise import noised, standard_normal
from dip_stages.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = [
    "INPUTS",
    "PROTOCOLS",
    "Chunk",
    "Chunks",
    "Stage",
    "StagePlan",
    "baseline_plan",
    "level_noise",
    "staged_plan",
]

INPUTS = ("fixed_noise", "previous_output", "noise_and_previous", "observed", "own_output")
"""Where a stage's input comes from; ``own_output`` is aSeqDIP's, which takes it anew within the stage."""

PROTOCOLS = ("clean", "renoised", "observed", "recorrupted")
"""Which image the stage targets are made from, and how."""

STAGE_STREAM = 2
"""Stream of the stages' noise; the observation's is another (see :mod:`dip_stages.dip.observation`)."""


@dataclass(frozen=True)
class Stage:
    r"""One stage of a plan.

    Attributes:
        beta: Noise variance of the level, on the [0, 1] scale; 0 for the baseline's only stage.
        budget: Iterations, >= 0; 0 skips the stage.
        target: ``(1, C, H, W)``, what the output is fitted to, unclipped.
        reference: What a perceptual loss compares with: the target, or the clean image where that was asked for.
        alpha: :math:`\alpha`, > 0, of a recorrupted stage; None for a stage whose target stands still.
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
        net_input: One of :data:`INPUTS`.
        sees_clean: Whether any target or reference was made from the clean image: such a fit is a reproduction
            and no denoiser.
        first_input: What the network is fed at first, ``(1, C, H, W)``; None for noise.
        sigma: Standard deviation of the noise with which stages are recorrupted; 0 where none is.
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
    """A plan in chunks whose edges are the multiples of ``size`` and the stage switches.

    The edges depend on the iteration alone, so a fit resumed at any edge meets the same ones.

    Attributes:
        plan: The stages.
        size: Iterations between two edges, >= 1.
        start: The edge to begin at: a multiple of ``size`` or a stage switch.
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
        net_input: One of :data:`INPUTS`; with a single stage there is no previous output to feed.
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

    A level made from an image x is :math:`\sqrt{1-\beta}\,x + \sqrt{\beta}\,\epsilon`. A recorrupted stage has none:
    at each iteration its input is :math:`y + \alpha n` and its target :math:`y - n / \alpha`, with n drawn anew like
    the observation's noise, which makes the noises of the two independent (Pang et al., CVPR 2021). So the noise of
    its target, :math:`\sigma^2 (1 + 1 / \alpha^2)`, falls as :math:`\alpha` rises.

    Args:
        protocol: ``clean``: x is the clean image, which leaks the answer. ``renoised``: x is the observed image,
            and the last stage that has iterations has the observed image itself. ``observed``: all of them have.
            ``recorrupted``: as above.
        net_input: One of :data:`INPUTS`.
        betas: Noise variances, descending.
        budgets: Iterations of each stage.
        observed: ``(1, C, H, W)``.
        level_eps: Standard normal draws of each stage, independent of the observation's.
        clean: ``(1, C, H, W)``; needed by, and allowed under, the protocol ``clean`` alone.
        perceptual_reference: ``target``, or ``clean`` under the protocol ``clean`` alone.
        alphas: Of each stage; needed by ``recorrupted`` and by no other.
        sigma: Of the noise n; likewise.

    Raises:
        ConfigError: If the protocol is unknown, the lengths differ, or ``clean`` is given to a blind protocol.
    """
    check_choice("protocol.name", protocol, PROTOCOLS)
    check_choice("loss.reference", perceptual_reference, ("target", "clean") if protocol == "clean" else ("target",))
    numbers = {"betas": len(betas), "budgets": len(budgets), "draws": len(level_eps)}
    if alphas is not None:
        numbers["alphas"] = len(alphas)
    if len(set(numbers.values())) != 1:
        raise ConfigError(setting="stages", got=numbers, allowed="equal numbers")
    if (clean is None) == (protocol == "clean"):
        raise ConfigError(
            "; the clean image belongs to protocol=clean and to no other", setting="protocol", got=protocol
        )
    if len({protocol == "recorrupted", alphas is not None, sigma is not None}) != 1:
        raise ConfigError(
            "; alphas and sigma belong to protocol=recorrupted and to no other", setting="protocol", got=protocol
        )
    source = observed if clean is None else clean
    targets = [
        observed if protocol in ("observed", "recorrupted") else noised(source, beta, eps, keep_variance=True)
        for beta, eps in zip(betas, level_eps, strict=True)
    ]
    if protocol == "renoised":
        last = max((index for index, budget in enumerate(budgets) if budget), default=len(targets) - 1)
        targets[last:] = [observed] * (len(targets) - last)
    references = targets if perceptual_reference == "target" or clean is None else [clean] * len(targets)
    each: Sequence[float | None] = [None] * len(betas) if alphas is None else alphas
    return StagePlan(
        tuple(Stage(*stage) for stage in zip(betas, budgets, targets, references, each, strict=True)),
        net_input,
        sees_clean=protocol == "clean",
        first_input=_first_input(net_input, observed),
        sigma=sigma or 0.0,
    )


def _first_input(net_input: str, observed: Tensor) -> Tensor | None:
    return observed if net_input in ("observed", "own_output") else None


def level_noise(shape: tuple[int, ...], stages: int, noise_seed: int) -> tuple[Tensor, ...]:
    """Return one draw of N(0, 1) a stage, from streams that the observation never uses."""
    return tuple(standard_normal(shape, noise_seed, STAGE_STREAM, stage) for stage in range(stages))
