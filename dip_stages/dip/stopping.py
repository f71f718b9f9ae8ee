"""Rules that choose which iteration of a fit to keep, without the clean image.

A rule is shown every iteration and alters nothing, so any number of rules can monitor one fit, and each
chooses what it would have chosen alone. What it keeps lives on the device; the host looks at :attr:`Rule.ended` when it
likes. When a stage begins, target or input change and statistics of the outputs jump, so each rule begins anew there
as its docstring says. The one rule that needs the clean image, :class:`Oracle`, is for analysis, and says so in
:attr:`Rule.needs_clean`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.dip.metrics import psnr, ssim
from dip_stages.dip.noise import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = [
    "Choice",
    "Discrepancy",
    "EsEmv",
    "EsWmv",
    "HeldOut",
    "Oracle",
    "Residual",
    "Rule",
    "StageGain",
    "Sure",
    "View",
]


@dataclass(frozen=True)
class View:
    """What a rule sees of an iteration.

    Attributes:
        output: The iteration's raw output, ``(1, C, H, W)`` float32.
        average: The average of the outputs so far, the same shape.
        target: What the stage is fitted to, the same shape; of a recorrupted stage, before noise is taken from it.
        last_of_stage: Whether the stage ends with this iteration.
        forward: Returns the network's output, in float32 and without a trace, for its present input plus a
            perturbation of the input's shape.
    """

    output: Tensor
    average: Tensor
    target: Tensor
    last_of_stage: bool
    forward: Callable[[Tensor | None], Tensor]


@dataclass(frozen=True)
class Choice:
    """What a rule chose.

    Attributes:
        iteration: The iteration kept, counted from 1.
        spent: The iteration at which the rule knew: where a fit that it governs ends.
        decided: Whether it came to a decision; if not, it kept what it had when the fit ended.
        output: The raw output of the iteration kept.
        average: The average at that iteration.
    """

    iteration: int
    spent: int
    decided: bool
    output: Tensor
    average: Tensor


class Rule:
    """A stopping rule. A subclass says in :meth:`_statistic` what it watches and in :meth:`_keeps` what it keeps.

    Attributes:
        needs_clean: Whether it looks at the clean image, which nobody who denoises has.
        sigma: The noise level that it goes by, on the [0, 1] scale; None if it goes by none.
    """

    needs_clean = False
    sigma: float | None = None

    def __init__(self) -> None:
        self._counts = {"seen": 0}  # on the host, which needs no device to know them
        self._state: dict[str, Tensor] = {}

    @property
    def ended(self) -> Tensor:
        """Whether the rule has come to its decision: a boolean scalar on the device."""
        return self._state["ended"]

    @property
    def _seen(self) -> int:
        return self._counts["seen"]

    def begin(self, like: Tensor) -> None:
        """Make the state, where and in the shape of an image ``(1, C, H, W)``."""
        self._state = {
            "kept": torch.zeros((), dtype=torch.int64, device=like.device),
            "spent": torch.zeros((), dtype=torch.int64, device=like.device),
            "ended": torch.zeros((), dtype=torch.bool, device=like.device),
            "output": torch.zeros_like(like),
            "average": torch.zeros_like(like),
        }

    def begin_stage(self) -> None:
        """Begin anew, as far as this rule does, since target or input are others from here on."""

    def see(self, view: View) -> None:
        """Take in one iteration."""
        self._counts["seen"] += 1
        self._watch(view)

    def choice(self, view: View) -> Choice:
        """Return what the rule chose; what it was shown last where it never kept anything.

        Args:
            view: The last iteration of the fit.
        """
        kept = int(self._state["kept"])
        decided = bool(self.ended)
        return Choice(
            iteration=kept or self._seen,
            spent=int(self._state["spent"]) if decided else self._seen,
            decided=decided,
            output=self._state["output"] if kept else view.output,
            average=self._state["average"] if kept else view.average,
        )

    def state(self) -> dict[str, Any]:
        """Return the state, for :meth:`restore`; tensors in it are the rule's own."""
        return {"counts": self._counts, "tensors": self._state}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state; its tensors must not be used elsewhere."""
        device = self._state["kept"].device
        self._counts = dict(state["counts"])
        self._state = {name: value.to(device) for name, value in state["tensors"].items()}

    def _watch(self, view: View) -> None:
        raise NotImplementedError

    def _keep(self, view: View, keep: Tensor) -> None:
        """Keep this iteration where ``keep``, a boolean scalar on the device, says so."""
        for name, image in (("output", view.output), ("average", view.average)):
            torch.where(keep, image, self._state[name], out=self._state[name])
        self._state["kept"].copy_(torch.where(keep, self._seen, self._state["kept"]))

    def _end(self, end: Tensor) -> None:
        """End here where ``end``, a boolean scalar on the device, says so."""
        self._state["spent"].copy_(torch.where(end, self._seen, self._state["spent"]))
        self._state["ended"].logical_or_(end)


class Discrepancy(Rule):
    r"""Stop as soon as the output is as far from the observed image as the noise is.

    .. math:: \min\{t : \mathrm{mean}\,(f_t - y)^2 \le \tau\,\sigma^2\}

    Morozov's discrepancy principle (1966): an output that is nearer to y than the clean image itself has begun to fit
    the noise. The average of the outputs is there later, since it is of earlier ones: with a lag, the fit goes on for
    that long and the iteration at its end is kept (ours). A new stage changes nothing: the observed image stays the
    same.

    Args:
        observed: y, ``(1, C, H, W)``.
        sigma: Standard deviation of its noise on the [0, 1] scale.
        tau: Factor on the noise variance, > 0.
        lag: Iterations >= 0.
        held_out: Pixels that the loss does not see, ``(1, 1, H, W)`` boolean, which the mean leaves out; None for none.
    """

    def __init__(
        self, observed: Tensor, sigma: float, tau: float = 1.0, lag: int = 0, held_out: Tensor | None = None
    ) -> None:
        super().__init__()
        self.sigma = sigma
        self._observed, self._limit, self._lag = observed, tau * sigma**2, lag
        self._weights = None if held_out is None else _weights(~held_out, observed)

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._state["there"] = torch.zeros((), dtype=torch.int64, device=like.device)
        self._observed = self._observed.to(like.device)
        self._weights = None if self._weights is None else self._weights.to(like.device)

    def _watch(self, view: View) -> None:
        distances = (view.output - self._observed).square()
        distance = distances.mean() if self._weights is None else (distances * self._weights).sum()
        first = (distance <= self._limit) & (self._state["there"] == 0)
        self._state["there"].copy_(torch.where(first, self._seen, self._state["there"]))
        last = (self._state["there"] > 0) & (self._seen - self._state["there"] >= self._lag) & ~self.ended
        self._keep(view, last)
        self._end(last)


def _weights(pixels: Tensor, observed: Tensor) -> Tensor:
    """Return what an image's values are to be weighed with, that their sum is their mean over some pixels."""
    return pixels.float() / (pixels.sum() * observed.shape[1])


class _Lowest(Rule):
    """Keeps the iteration of the lowest statistic, and ends when there was none lower for some time.

    Args:
        patience: Iterations without a new lowest after which the rule ends; None for never.
    """

    def __init__(self, patience: int | None) -> None:
        super().__init__()
        self._patience = patience

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._state["lowest"] = torch.full((), torch.inf, device=like.device)
        self._state["at"] = torch.zeros((), dtype=torch.int64, device=like.device)

    def begin_stage(self) -> None:
        """Forget how low the statistic was, not what was kept: the next one there is takes its place."""
        self._state["lowest"].fill_(torch.inf)

    def _offer(self, view: View, statistic: Tensor) -> None:
        lower = (statistic < self._state["lowest"]) & ~self.ended
        self._state["lowest"].copy_(torch.where(lower, statistic, self._state["lowest"]))
        self._state["at"].copy_(torch.where(lower, self._seen, self._state["at"]))
        self._keep(view, lower)

    def _wait(self) -> None:
        """End when the patience is spent: once an iteration, whether there was a statistic or not."""
        if self._patience is not None:
            waited = self._seen - self._state["at"] >= self._patience
            self._end(waited & self._state["lowest"].isfinite() & ~self.ended)


class Residual(_Lowest):
    r"""Stop where the outputs are nearest to the observed image, in a fit that leaves it when it begins to overfit.

    .. math:: r \leftarrow \gamma r + (1-\gamma)\,\mathrm{mean}\,(f_t - y)^2

    over :math:`1-\gamma^t`, at its lowest. Where the target stands still, r falls to zero and its lowest value says
    nothing: that is what :class:`Discrepancy` is for. A recorrupted target, :math:`y - n/\alpha` with n drawn anew at
    each iteration, is another matter: while the network denoises, r falls towards the observation's own noise; when it
    learns to tell n from its input, its outputs follow :math:`-n/\alpha` away from y, and r rises. A network that
    learned y by heart first would never show that; ``docs/stopping.md`` has how often there was a lowest value, and how
    near to the best iteration. It needs no noise level. Ours.

    The first :math:`1/(1-\gamma)` values say too little and are left out. A stage begins r and its lowest value anew:
    with another :math:`\alpha` the outputs are of another input.

    Args:
        observed: y, ``(1, C, H, W)``.
        decay: :math:`\gamma` in [0, 1).
        patience: Iterations >= 1.
    """

    def __init__(self, observed: Tensor, decay: float = 0.992, patience: int = 20) -> None:
        super().__init__(patience)
        self._observed, self._decay = observed, decay

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._observed = self._observed.to(like.device)
        self._state["residual"] = torch.zeros((), device=like.device)
        self._counts["smoothed"] = 0

    def begin_stage(self) -> None:
        """Begin the distance and its lowest value anew."""
        super().begin_stage()
        self._state["residual"].zero_()
        self._counts["smoothed"] = 0

    def _watch(self, view: View) -> None:
        now = (view.output - self._observed).square().mean()
        self._state["residual"].mul_(self._decay).add_(now, alpha=1 - self._decay)
        self._counts["smoothed"] += 1
        if self._counts["smoothed"] * (1 - self._decay) >= 1:
            self._offer(view, self._state["residual"] / (1 - self._decay ** self._counts["smoothed"]))
        self._wait()


class HeldOut(_Lowest):
    r"""Stop where the average is nearest to the observed image at pixels that the fit has not seen.

    .. math:: v_t = \mathrm{mean}_{held\ out}\,(a_t - y)^2

    Where noise is independent from pixel to pixel and of mean zero, a network learns nothing of it at pixels that the
    loss leaves out. So v is, in expectation, the mean squared error of the average there plus the variance of the
    noise: it estimates the risk and needs no noise level. (Hold-out validation; for Deep Image Prior: Ding et al.,
    2022, arXiv 2209.10675. Here the average is validated, which is nearer to the clean image than any output.) A
    stage that begins starts the waiting anew and leaves the lowest value: the observed image stays the same.

    Args:
        observed: y, ``(1, C, H, W)``.
        held_out: The pixels that the loss does not see, ``(1, 1, H, W)`` boolean.
        patience: Iterations >= 1.
    """

    def __init__(self, observed: Tensor, held_out: Tensor, patience: int = 20) -> None:
        super().__init__(patience)
        self._observed = observed
        self._weights = _weights(held_out, observed)

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._observed, self._weights = self._observed.to(like.device), self._weights.to(like.device)

    def begin_stage(self) -> None:
        """Wait anew."""
        self._state["at"].fill_(self._seen)

    def _watch(self, view: View) -> None:
        self._offer(view, ((view.average - self._observed).square() * self._weights).sum())
        self._wait()


class EsWmv(_Lowest):
    r"""Stop where the outputs vary least within a moving window.

    .. math:: \mathrm{VAR}_t = \mathrm{mean}_{pixels}\bigl(E_W[f^2] - E_W[f]^2\bigr)

    over the last W outputs, from the first full window; ends after ``patience`` iterations without a new minimum, and
    keeps the iteration of the minimum (ES-WMV: Wang et al., TMLR 2023, arXiv 2112.06074). When a stage begins, window
    and minimum are emptied: across a switch the outputs vary because the target does.

    Args:
        window: W >= 2.
        patience: Iterations >= 1.
    """

    def __init__(self, window: int = 100, patience: int = 1000) -> None:
        super().__init__(patience)
        self._window = window

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        # Sums of squares nearly cancel: they want more digits than the images, where the device has them.
        precise = torch.float32 if like.device.type == "mps" else torch.float64
        self._state["outputs"] = torch.zeros((self._window, *like.shape[1:]), device=like.device)
        self._state["sums"] = torch.zeros((2, *like.shape[1:]), dtype=precise, device=like.device)
        self._counts["filled"] = 0

    def begin_stage(self) -> None:
        """Empty the window."""
        super().begin_stage()
        self._counts["filled"] = 0
        for name in ("outputs", "sums"):
            self._state[name].zero_()

    def _watch(self, view: View) -> None:
        outputs, sums = self._state["outputs"], self._state["sums"]
        oldest = outputs[self._counts["filled"] % self._window]  # zero, until the window is full
        new, old = view.output[0].to(sums.dtype), oldest.to(sums.dtype)
        sums[0] += new - old
        sums[1] += new.square() - old.square()
        oldest.copy_(view.output[0])
        self._counts["filled"] += 1
        if self._counts["filled"] >= self._window:
            mean, square = sums / self._window
            self._offer(view, (square - mean**2).mean().float())
        self._wait()


class EsEmv(_Lowest):
    r"""Stop where the outputs vary least, by an exponential moving variance.

    .. math:: \delta = f_t - m,\quad m \leftarrow m + \alpha\delta,\quad
              v \leftarrow (1-\alpha)(v + \alpha\,\mathrm{mean}\,\delta^2)

    with m and v from zero; otherwise as :class:`EsWmv`, of the same paper, without the memory of a window. When a
    stage begins, m, v and the minimum begin anew.

    Args:
        alpha: Weight of the newest output, in (0, 1).
        patience: Iterations >= 1.
    """

    def __init__(self, alpha: float = 0.1, patience: int = 1000) -> None:
        super().__init__(patience)
        self._alpha = alpha

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._state["mean"] = torch.zeros_like(like)
        self._state["variance"] = torch.zeros((), device=like.device)

    def begin_stage(self) -> None:
        """Begin mean and variance anew."""
        super().begin_stage()
        self._state["mean"].zero_()
        self._state["variance"].zero_()

    def _watch(self, view: View) -> None:
        delta = view.output - self._state["mean"]
        self._state["mean"].add_(delta, alpha=self._alpha)
        self._state["variance"].add_(delta.square().mean(), alpha=self._alpha).mul_(1 - self._alpha)
        self._offer(view, self._state["variance"])
        self._wait()


class Sure(_Lowest):
    r"""Stop where Stein's unbiased estimate of the risk is lowest.

    .. math:: \mathrm{mean}\,(f(y) - y)^2 - \sigma^2 + \frac{2\sigma^2}{N}\,\mathrm{div}_y f,\quad
              \mathrm{div}_y f \approx b \cdot \frac{f(y + \epsilon b) - f(y)}{\epsilon}

    with a standard normal probe b (Ramani et al., 2008; for deep networks: Metzler et al., 2018, arXiv 1805.10531;
    for Deep Image Prior: Jo et al., ICCV 2021). The divergence is that of the network as a function of its input, so
    the input must be the observed image: ``method.input=observed``. A stage that begins is judged afresh.

    Args:
        observed: y, ``(1, C, H, W)``.
        sigma: Standard deviation of its noise on the [0, 1] scale.
        seed: Of the probes, a stream of their own.
        every: Iterations between two estimates, >= 1; each costs two forward passes.
        epsilon: Length of the difference, on the [0, 1] scale.
        patience: Iterations >= 1.
    """

    def __init__(
        self,
        observed: Tensor,
        sigma: float,
        seed: int,
        *,
        every: int = 10,
        epsilon: float = 1e-3,
        patience: int = 1000,
    ) -> None:
        super().__init__(patience)
        self.sigma = sigma
        self._observed, self._variance, self._seed = observed, sigma**2, seed
        self._every, self._epsilon = every, epsilon

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._observed = self._observed.to(like.device)

    def _watch(self, view: View) -> None:
        if self._seen % self._every == 0:
            self._offer(view, self._risk(view))
        self._wait()

    def _risk(self, view: View) -> Tensor:
        # Of a stream named after the iteration, so that a rule that goes on draws what it would have drawn.
        draws = generator(self._seed, _PROBE_STREAM, self._seen)
        probe = torch.randn(self._observed.shape, generator=draws).to(self._observed.device)
        here, there = view.forward(None), view.forward(self._epsilon * probe)
        divergence = (probe * (there - here)).mean() / self._epsilon
        return (here - self._observed).square().mean() - self._variance + 2 * self._variance * divergence


_PROBE_STREAM = 3


class StageGain(Rule):
    """Stop after the stage that brought too little: the course report's rule.

    At each stage's end, PSNR and SSIM of the output against that stage's target are compared with those of the stage
    before. The rule ends where both gains fall below their thresholds, and keeps what the fit has there. (The report
    gives no thresholds.) With one stage, or where every stage gains enough, it never ends.

    Args:
        psnr_gain: dB.
        ssim_gain: Dimensionless.
    """

    def __init__(self, psnr_gain: float = 0.05, ssim_gain: float = 0.001) -> None:
        super().__init__()
        self._gains = (psnr_gain, ssim_gain)

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._state["before"] = torch.full((2,), -torch.inf, device=like.device)
        self._state["gains"] = torch.tensor(self._gains, device=like.device)

    def _watch(self, view: View) -> None:
        if not view.last_of_stage:
            return
        now = torch.stack([psnr(view.output, view.target), ssim(view.output, view.target)])
        end = (now - self._state["before"] < self._state["gains"]).all() & ~self.ended
        self._state["before"].copy_(now)
        self._keep(view, end)
        self._end(end)


class Oracle(_Lowest):
    """The best iteration by PSNR against the CLEAN image: no rule that anyone could use, but what others miss.

    Args:
        clean: ``(1, C, H, W)``.
        of: ``output`` or ``average``, whose PSNR counts.
    """

    needs_clean = True

    def __init__(self, clean: Tensor, of: str) -> None:
        super().__init__(patience=None)
        self._clean, self._of = clean, of

    def begin(self, like: Tensor) -> None:
        """Make the state."""
        super().begin(like)
        self._clean = self._clean.to(like.device)

    def begin_stage(self) -> None:
        """Go on: the clean image stays the same."""

    def _watch(self, view: View) -> None:
        self._offer(view, (getattr(view, self._of) - self._clean).square().mean())
