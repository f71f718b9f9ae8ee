"""The style of all plots, and the plots of a single cell and of a training. Torch-free."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from dip_stages.store.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["PALETTE", "plot_curve", "plot_losses", "plot_samples", "publish", "save", "short", "style"]

PALETTE = "colorblind"

_DRAWING = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style: seaborn's whitegrid, a colour-blind-safe palette, fonts of a paper."""
    # matplotlib's settings belong to the process, so one thread draws at a time.
    with (
        _DRAWING,
        warnings.catch_warnings(),
        mpl.rc_context({"text.parse_math": False}),  # a name may have dollars
        sns.axes_style("whitegrid"),
        sns.plotting_context("paper", font_scale=1.1),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # letters without one are drawn as boxes
        sns.set_palette(PALETTE)
        yield


def save(figure: Figure, path: Path, *, crop: bool = True) -> None:
    """Write a plot whole or not at all.

    Args:
        figure: The plot.
        path: Where it goes; its ending gives the format.
        crop: Whether to fit the margins to the plot, which means to draw it once more.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, bbox_inches="tight" if crop else None)


def publish(figure: Figure, path: Path) -> None:
    """Write a plot of a report as PNG, and as SVG beside it."""
    save(figure, path)
    save(figure, path.with_suffix(".svg"))


def short(name: object, most: int = 32) -> str:
    """Return a name for a plot, which has little room: of a long one the beginning and the end.

    Example:
        >>> short("rocket"), short("a" * 200 + "b")
        ('rocket', 'aaaaaaaaaaaaaaaa…aaaaaaaaaaaaaab')
    """
    text = str(name)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[1 - most // 2 :]}"


def plot_curve(
    path: Path,
    title: str,
    rows: Sequence[dict[str, float]],
    stages: Sequence[Mapping[str, Any]],
    stopping: Mapping[str, Any] | None = None,
) -> None:
    """Draw PSNR and SSIM of output and average against the iteration, stages shaded, the chosen iteration marked.

    Args:
        path: Where the plot goes; its ending gives the format.
        title: The cell.
        rows: The curve's rows, with the keys of :data:`dip_stages.dip.callbacks.CURVE_COLUMNS`.
        stages: The record's stages, for their budgets.
        stopping: The record's, for the iteration that a rule kept; None if the fit did not end.
    """
    with style():
        figure = Figure(figsize=(8, 3.2))  # for each cell: to measure the margins would double the time
        figure.subplots_adjust(left=0.085, right=0.99, bottom=0.16, top=0.88, wspace=0.24)
        for axes, metric, unit in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR (dB)", "SSIM"), strict=True):
            _shade(axes, [int(stage["budget"]) for stage in stages])
            iterations = [row["iteration"] for row in rows]
            for image in ("output", "average"):
                axes.plot(iterations, [row[f"{image}_{metric}"] for row in rows], label=image)
            if stopping and stopping["rule"] != "none":
                mark = " (sees the clean image)" if stopping["needs_clean"] else ""
                label = f"kept by {stopping['rule']}{mark}"
                axes.axvline(stopping["iteration"], color="0.3", linestyle="--", linewidth=0.9, label=label)
            axes.set(xlabel="iteration", ylabel=f"{unit} against the clean image")
        axes.legend()
        figure.suptitle(title)
        save(figure, path, crop=False)


def plot_losses(path: Path, losses: Sequence[float], *, title: str) -> None:
    """Draw the loss of each iteration of a training, and its running mean over a fiftieth of them.

    Args:
        path: Where the plot goes.
        losses: One an iteration.
        title: Of the plot, such as the model's name.
    """
    window = max(1, len(losses) // 50)
    means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    with style():
        figure = Figure(figsize=(5.5, 3.2), layout="constrained")
        mpl.rcParams["text.parse_math"] = True  # a logarithmic axis has powers
        axes = figure.subplots()
        axes.plot(range(1, len(losses) + 1), losses, linewidth=0.6, alpha=0.4, label="each iteration")
        axes.plot(range(window, len(losses) + 1), means, label=f"mean of {window}")
        axes.set(xlabel="iteration", ylabel="squared error of the noise", yscale="log")
        axes.set_title(title, parse_math=False)
        axes.legend()
        save(figure, path)


def plot_samples(path: Path, images: NDArray[np.float32], *, title: str) -> None:
    """Draw a sheet of small images.

    Args:
        path: Where the plot goes.
        images: ``(N, H, W, C)`` in [0, 1].
        title: Of the plot.
    """
    across = int(np.ceil(np.sqrt(len(images))))
    down = -(-len(images) // across)
    with style():
        figure = Figure(figsize=(1.1 * across, 1.1 * down + 0.4), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes in panels:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for axes, image in zip(panels, images, strict=False):
            shown = image[..., 0] if image.shape[-1] == 1 else image
            axes.imshow(shown, cmap="gray" if shown.ndim == 2 else None, vmin=0, vmax=1, interpolation="nearest")
        figure.suptitle(title)
        save(figure, path)


def _shade(axes: Axes, budgets: Sequence[int]) -> None:
    start = 0
    for number, budget in enumerate(budgets):
        if number % 2:
            axes.axvspan(start, start + budget, color="0.93", linewidth=0)
        start += budget
