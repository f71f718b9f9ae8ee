"""A single cell as text, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.names import printable
from dip_stages.report.labels import method_label

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.store.record_fields import End, ImageQuality, Observed, Peak, Sigma, Stopping
    from dip_stages.store.records import Record

__all__ = ["describe"]


def describe(record: Record, folder: Path) -> str:
    """Return a cell's metrics and folder, for the terminal."""
    if record.metrics is None:
        message = printable(record.error and record.error["message"], keep="\n")
        return f"{'lost' if record.lost else 'failed'}: {message}\n{printable(folder)}\n"
    observed, result = record.observation, record.metrics["result"]
    lines = [_line("observed", observed)]
    if "given" in observed:
        lines.append(
            f"{_line('result', result)}  {method_label(record.cell['axes'])}{_level(observed['given']['sigma'])}"
        )
    else:
        lines += [
            f"{_line(image, metrics['end'])}  {_where(record, metrics['end'], metrics['peak'])}"
            for image in ("output", "average")
            if (metrics := record.metrics[image])
        ]
        where = f"the {result['of']}" + ("" if record.members else f" at iteration {result['iteration']}")
        lines.append(f"{_line('result', result)}  {where}, {_chosen_by(record.stopping)}")
        if record.sees_clean:
            lines.append("This cell was guided by the clean image: a reproduction of the course report, no denoiser.")
    return "\n".join([*lines, f"{record.timing['seconds']:.0f} s, {printable(folder)}", ""])


def _line(image: str, metrics: Observed | ImageQuality) -> str:
    return f"{image:10} PSNR {metrics['psnr']:6.2f} dB  SSIM {metrics['ssim']:.4f}"


def _level(sigma: Sigma | None) -> str:
    return f", sigma {sigma['value'] * 255:.1f}/255 {sigma['source']}" if sigma else ""


def _where(record: Record, end: End, peak: Peak | None) -> str:
    if peak is None:
        each = ", ".join(f"{member['metrics']['result']['psnr']:.2f}" for member in record.members)
        return f"mean of {len(record.members)} members, whose results have {each} dB"
    found = f"(peak {peak['psnr']:.2f} dB at {peak['iteration']}, found with the clean image)"
    return f"after {end['iteration']} iterations  {found}"


def _chosen_by(stopping: Stopping | None) -> str:
    if stopping is None or stopping["rule"] == "none":
        return "the last"
    end = "" if stopping["decided"] else ", which came to no decision"
    return f"by the rule {stopping['rule']}{_level(stopping['sigma'])}{end}"
