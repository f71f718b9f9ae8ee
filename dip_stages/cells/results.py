"""From a fit to the figures of its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.cells.build import member_seed
from dip_stages.dip.metrics import quality
from dip_stages.dip.observation import build_sigma
from dip_stages.images.sources import is_course_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dip_stages.cells.identity import Cell
    from dip_stages.config import Config, StoppingConfig
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.observation import Observation
    from dip_stages.dip.stopping.base import Choice, Rule

__all__ = ["Member", "competitor_of", "ensemble_of", "member_of", "observation_of"]


@dataclass(frozen=True)
class Member:
    """A fit that is done: one of an ensemble, or the only one there is. What it holds can be saved.

    Attributes:
        seed: Its own.
        iterations: Done.
        rollbacks: Of jumps of the loss.
        metrics: As in a record.
        stopping: As in a record.
        images: ``output`` and ``average`` at the end, and the ``result``; each ``(1, C, H, W)`` on the CPU.
    """

    seed: int
    iterations: int
    rollbacks: int
    metrics: dict[str, Any]
    stopping: dict[str, Any]
    images: dict[str, Tensor]

    def described(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {key: getattr(self, key) for key in ("seed", "iterations", "rollbacks", "metrics", "stopping")}


def member_of(config: Config, number: int, module: DIPModule, rows: list[dict[str, float]], clean: Tensor) -> Member:
    """Return what came of a fit.

    Args:
        config: The cell's.
        number: The member's.
        module: Fitted.
        rows: The curve's.
        clean: What the figures are against.
    """
    stopping = _stopping_of(config, module, clean)
    chosen = module.chosen
    result = chosen.output if _result_is(config) == "output" else chosen.average
    images = {"output": module.output, "average": module.average, "result": result}
    return Member(
        seed=member_seed(config, number),
        iterations=module.iteration,
        rollbacks=module.rollbacks,
        metrics=_metrics_of(config, rows, stopping),
        stopping=stopping,
        images={name: image.detach().cpu().clone() for name, image in images.items()},
    )


def ensemble_of(members: Sequence[Member], clean: Tensor) -> Member:
    """Return the ensemble of fits as one: its images are their means, its figures those of the means.

    One fit is its own ensemble. Of several there is no common iteration, no peak and no gap.
    """
    first = members[0]
    if len(members) == 1:
        return first
    images = {name: torch.stack([m.images[name] for m in members]).mean(dim=0) for name in first.images}
    figures = {name: vars(quality(image, clean)) for name, image in images.items()}
    shared = {key: first.stopping[key] for key in ("rule", "needs_clean", "sigma")}
    return Member(
        seed=first.seed,
        iterations=sum(member.iterations for member in members),
        rollbacks=sum(member.rollbacks for member in members),
        metrics={name: {"end": {"iteration": None, **figures[name]}, "peak": None} for name in ("output", "average")}
        | {"result": {**first.metrics["result"], "iteration": None, **figures["result"], "gap_psnr": None}},
        stopping={
            **shared,
            "decided": all(member.stopping["decided"] for member in members),
            "iteration": None,
            "spent": sum(member.stopping["spent"] for member in members),
            "output": figures["output"],
            "average": figures["average"],
            "monitors": {},
        },
        images=images,
    )


def competitor_of(image: Tensor, clean: Tensor) -> dict[str, Any]:
    """Return the metrics of a record for a method without iterations: it has a result, and no average, peak or gap.

    Args:
        image: ``(1, C, H, W)``.
        clean: What the figures are against.
    """
    figures: dict[str, Any] = {"iteration": None, **vars(quality(image, clean))}
    result = {"of": "output", **figures, "needs_clean": False, "gap_psnr": None}
    return {"output": {"end": figures, "peak": None}, "average": None, "result": result}


def _result_is(config: Config) -> str:
    return "output" if config.average.name == "none" else "average"


def _stopping_of(config: Config, module: DIPModule, clean: Tensor) -> dict[str, Any]:
    """Return what rule and monitors chose, and how near to the clean image that is."""
    rules, read = config.active_monitors, module.monitored  # both are made anew at each look
    monitors = {label: _read(rules[label], rule, read[label], clean) for label, rule in module.monitors.items()}
    return {**_read(config.stopping, module.rule, module.chosen, clean), "monitors": monitors}


def _read(config: StoppingConfig, rule: Rule | None, choice: Choice, clean: Tensor) -> dict[str, Any]:
    clean = clean.to(choice.output.device)
    sigma = {"source": getattr(config, "sigma", None), "value": rule.sigma} if rule and rule.sigma else None
    return {
        "rule": config.name,
        "needs_clean": rule is not None and rule.needs_clean,
        "sigma": sigma,
        "decided": choice.decided,
        "iteration": choice.iteration,
        "spent": choice.spent,
        "output": vars(quality(choice.output, clean)),
        "average": vars(quality(choice.average, clean)),
    }


def _metrics_of(config: Config, rows: list[dict[str, float]], stopping: dict[str, Any]) -> dict[str, Any]:
    """Return output and average at the end, and at their peaks, which only the clean image can find; and the result.

    The gap is that between the result and the best of its kind at the edges of chunks, among the iterations run.
    """

    def at(row: dict[str, float], image: str) -> dict[str, Any]:
        return {"iteration": row["iteration"], "psnr": row[f"{image}_psnr"], "ssim": row[f"{image}_ssim"]}

    of = _result_is(config)
    metrics: dict[str, Any] = {
        image: {
            "end": at(rows[-1], image),
            "peak": at(max(rows, key=lambda row: row[f"{image}_psnr"]), image) | {"needs_clean": True},
        }
        for image in ("output", "average")
    }
    result = {"of": of, "iteration": stopping["iteration"], **stopping[of], "needs_clean": stopping["needs_clean"]}
    gap = metrics[of]["peak"]["psnr"] - result["psnr"]
    return {**metrics, "result": {**result, "gap_psnr": {"value": gap, "needs_clean": True}}}


def observation_of(cell: Cell, observation: Observation | None) -> dict[str, Any]:
    """Return what a record says of the noisy image; its size and quality only once there is one."""
    known: dict[str, Any] = {
        "image": cell.axes["image"],
        "source": cell.config.data.source,
        "course_image": is_course_image(cell.config.data),
        "index": getattr(cell.config.data, "index", None),
        "sha256": cell.settings["data"]["image"],
        "noise": cell.config.noise.name,
        "unmet": list(cell.config.unmet),
        "beta_max": cell.config.noise.beta_max,
        "sigma": cell.config.noise.beta_max**0.5,
        "noise_seed": cell.config.noise_seed,
    }
    if observation is not None:
        _, channels, height, width = observation.clean.shape
        shown = quality(observation.observed.clamp(0, 1), observation.clean)
        known |= {"height": height, "width": width, "channels": channels, "psnr": shown.psnr, "ssim": shown.ssim}
        if cell.config.recorrupted:
            source = cell.config.protocol.sigma
            known["recorruption"] = {"source": source, "value": build_sigma(source, observation)}
    return known
