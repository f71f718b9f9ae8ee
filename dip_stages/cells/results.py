"""From fits to the metrics of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dip_stages.cells.build import member_seed
from dip_stages.dip.metrics import quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from dip_stages.config import Config, StoppingConfig
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stopping.base import Choice, Rule
    from dip_stages.store.record_fields import (
        Chosen,
        End,
        ImageMetrics,
        ImageName,
        ImageQuality,
        MemberFields,
        Metrics,
        Stopping,
    )

__all__ = ["Member", "mean_of", "member_of", "metrics_of_competitor", "quality_of", "result_of"]


@dataclass(frozen=True)
class Member:
    """A fit that is done: one of an ensemble, or the only one of a cell. A checkpoint can hold all of it.

    Attributes:
        seed: The member's.
        iterations: Iterations done.
        rollbacks: Jumps of the loss that were rolled back.
        metrics: As in a record.
        stopping: As in a record.
        images: ``output`` and ``average`` at the end, and the ``result``; each ``(1, C, H, W)`` on the CPU.
    """

    seed: int
    iterations: int
    rollbacks: int
    metrics: Metrics
    stopping: Stopping
    images: dict[str, Tensor]

    def fields(self) -> MemberFields:
        """Return the member as a record has it."""
        return {
            "seed": self.seed,
            "iterations": self.iterations,
            "rollbacks": self.rollbacks,
            "metrics": self.metrics,
            "stopping": self.stopping,
        }


def member_of(config: Config, number: int, module: DIPModule, rows: list[dict[str, float]], clean: Tensor) -> Member:
    """Return the result of a fit.

    Args:
        config: The cell's.
        number: The member's.
        module: Fitted.
        rows: Of its quality curve.
        clean: ``(1, C, H, W)``; the metrics are against it.
    """
    stopping = _stopping_of(config, module, clean)
    images = {"output": module.output, "average": module.average, "result": result_of(config, module.chosen)}
    return Member(
        seed=member_seed(config, number),
        iterations=module.iteration,
        rollbacks=module.rollbacks,
        metrics=_metrics_of(_result_name(config), rows, stopping),
        stopping=stopping,
        images={name: image.detach().cpu().clone() for name, image in images.items()},
    )


def result_of(config: Config, choice: Choice) -> Tensor:
    """Return the image that is a fit's result, ``(1, C, H, W)``: the chosen average, or output where none is taken."""
    return choice.output if _result_name(config) == "output" else choice.average


def mean_of(members: Sequence[Member], clean: Tensor) -> Member:
    """Return an ensemble as one member: its images are the means over its members, its metrics those of the means.

    Of one member it is that member. Of several, which have no iteration in common, iteration, peak and gap are None.

    Args:
        members: All of the ensemble.
        clean: ``(1, C, H, W)``; the metrics are against it.
    """
    first = members[0]
    if len(members) == 1:
        return first
    images = {name: torch.stack([member.images[name] for member in members]).mean(dim=0) for name in first.images}
    output, average, result = (quality_of(images[name], clean) for name in ("output", "average", "result"))
    stopping: Stopping = {
        "rule": first.stopping["rule"],
        "needs_clean": first.stopping["needs_clean"],
        "sigma": first.stopping["sigma"],
        "decided": all(member.stopping["decided"] for member in members),
        "iteration": None,
        "spent": sum(member.stopping["spent"] for member in members),
        "statistic": _mean(member.stopping.get("statistic") for member in members),
        "output": output,
        "average": average,
        "monitors": {},
    }
    return Member(
        seed=first.seed,
        iterations=sum(member.iterations for member in members),
        rollbacks=sum(member.rollbacks for member in members),
        metrics={
            "output": {"end": {"iteration": None, **output}, "peak": None},
            "average": {"end": {"iteration": None, **average}, "peak": None},
            "result": {**first.metrics["result"], "iteration": None, **result, "gap_psnr": None},
        },
        stopping=stopping,
        images=images,
    )


def metrics_of_competitor(image: Tensor, clean: Tensor) -> Metrics:
    """Return the metrics of a method without iterations: it has no average, no peak and no gap.

    Args:
        image: Its result, ``(1, C, H, W)``.
        clean: The same shape; the metrics are against it.
    """
    end: End = {"iteration": None, **quality_of(image, clean)}
    return {
        "output": {"end": end, "peak": None},
        "average": None,
        "result": {"of": "output", **end, "needs_clean": False, "gap_psnr": None},
    }


def quality_of(image: Tensor, clean: Tensor) -> ImageQuality:
    """Return PSNR and SSIM of an image as a record has them; both ``(1, C, H, W)``."""
    found = quality(image, clean.to(image.device))
    return {"psnr": found.psnr, "ssim": found.ssim}


def _mean(values: Iterable[float | None]) -> float | None:
    there = list(values)
    return None if None in there else sum(filter(None, there)) / len(there)


def _result_name(config: Config) -> ImageName:
    return "output" if config.average.name == "none" else "average"


def _stopping_of(config: Config, module: DIPModule, clean: Tensor) -> Stopping:
    rules, choices = config.active_monitors, module.monitored  # each access computes them again
    monitors = {label: _chosen(rules[label], rule, choices[label], clean) for label, rule in module.monitors.items()}
    return {**_chosen(config.stopping, module.rule, module.chosen, clean), "monitors": monitors}


def _chosen(config: StoppingConfig, rule: Rule | None, choice: Choice, clean: Tensor) -> Chosen:
    return {
        "rule": config.name,
        "needs_clean": rule is not None and rule.needs_clean,
        "sigma": {"source": getattr(config, "sigma", None), "value": rule.sigma} if rule and rule.sigma else None,
        "decided": choice.decided,
        "iteration": choice.iteration,
        "spent": choice.spent,
        "statistic": choice.statistic,
        "output": quality_of(choice.output, clean),
        "average": quality_of(choice.average, clean),
    }


def _metrics_of(of: ImageName, rows: list[dict[str, float]], stopping: Stopping) -> Metrics:
    """Return the metrics of a fit. The gap is from the result to the peak of the same image."""
    metrics = {"output": _image_metrics("output", rows), "average": _image_metrics("average", rows)}
    result, peak = stopping[of], metrics[of]["peak"]
    assert peak is not None  # noqa: S101 - a fit has one
    return {
        "output": metrics["output"],
        "average": metrics["average"],
        "result": {
            "of": of,
            "iteration": stopping["iteration"],
            **result,
            "needs_clean": stopping["needs_clean"],
            "gap_psnr": {"value": peak["psnr"] - result["psnr"], "needs_clean": True},
        },
    }


def _image_metrics(image: ImageName, rows: list[dict[str, float]]) -> ImageMetrics:
    peak = _at(max(rows, key=lambda row: row[f"{image}_psnr"]), image)
    return {"end": _at(rows[-1], image), "peak": {**peak, "needs_clean": True}}


def _at(row: dict[str, float], image: ImageName) -> End:
    return {"iteration": int(row["iteration"]), "psnr": row[f"{image}_psnr"], "ssim": row[f"{image}_ssim"]}
