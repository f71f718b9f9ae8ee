"""From a fit to the figures of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dip_stages.metrics import quality

if TYPE_CHECKING:
    from dip_stages.cell import Cell
    from dip_stages.data import Observation

__all__ = ["metrics_of", "observation_of"]


def metrics_of(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return output and average at the end, and at their peaks, which only the clean picture can find."""

    def at(row: dict[str, float], picture: str) -> dict[str, Any]:
        return {"iteration": row["iteration"], "psnr": row[f"{picture}_psnr"], "ssim": row[f"{picture}_ssim"]}

    return {
        picture: {
            "end": at(rows[-1], picture),
            "peak": at(max(rows, key=lambda row: row[f"{picture}_psnr"]), picture) | {"needs_clean": True},
        }
        for picture in ("output", "average")
    }


def observation_of(cell: Cell, observation: Observation | None) -> dict[str, Any]:
    """Return what a record says of the noisy picture; its size and quality only once there is one."""
    known: dict[str, Any] = {
        "picture": cell.axes["picture"],
        "source": cell.config.data.source,
        "sha256": cell.settings["data"]["picture"],
        "beta_max": cell.config.noise.beta_max,
        "sigma": cell.config.noise.beta_max**0.5,
        "noise_seed": cell.config.noise_seed,
    }
    if observation is not None:
        _, channels, height, width = observation.clean.shape
        shown = quality(observation.observed.clamp(0, 1), observation.clean)
        known |= {"height": height, "width": width, "channels": channels, "psnr": shown.psnr, "ssim": shown.ssim}
    return known
