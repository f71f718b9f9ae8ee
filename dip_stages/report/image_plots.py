"""Plots of the images: side by side, and a part of each enlarged, with its error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from dip_stages.plotting import publish, style
from dip_stages.report.frame import done_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["plot_details", "plot_sheet"]

_MOST_ROWS = 8
_MOST_DETAILS = 4
_DARKEST = 0.2
"""Absolute error on [0, 1] that is drawn black."""


def plot_sheet(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw observed, baseline, staged and clean images side by side, a row a network, image and noise.

    The cell shown is the first planned one of its kind, never the best: choosing would need the clean image. A
    protocol that sees the clean image says so above its column.

    Returns:
        Whether there was anything to draw.
    """
    rows, columns = _sheet(frame, _MOST_ROWS)
    if not rows:
        return False
    with style():
        figure = Figure(figsize=(2.3 * len(columns), 2.65 * len(rows)), layout="constrained")
        for row, panels in zip(rows, figure.subplots(len(rows), len(columns), squeeze=False), strict=True):
            for title, axes in zip(columns, panels, strict=True):
                _panel(axes, root, row.get(title))
        for title, axes in zip(columns, figure.axes, strict=False):
            axes.set_title(_headed(title), fontsize=8.5)
        publish(figure, path)
    return True


def plot_details(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw a part of each image of the sheet, enlarged, and below it how far it is from the clean image.

    The part is the quarter of a side in which the *observed* image varies most. The errors, means over channels of
    the absolute difference, needed the clean image; white is none, black :data:`_DARKEST` or more.

    Returns:
        Whether there was anything to draw.
    """
    rows, columns = _sheet(frame, _MOST_DETAILS)
    rows = [row for row in rows if all((root / folder / file).exists() for folder, file, _ in row.values())]
    if not rows:
        return False
    with style():
        figure = Figure(figsize=(1.9 * len(columns), 4.1 * len(rows)), layout="constrained")
        panels = figure.subplots(2 * len(rows), len(columns), squeeze=False)
        for number, row in enumerate(rows):
            images = {title: _read(root / folder / file) for title, (folder, file, _) in row.items()}
            part = _liveliest(images["observed"])
            for title, above, below in zip(columns, panels[2 * number], panels[2 * number + 1], strict=True):
                for axes in (above, below):
                    axes.set(xticks=[], yticks=[], frame_on=False)
                if title not in images:
                    continue
                _show(above, images[title][part])
                if title != "clean":
                    error = np.abs(images[title] / 255 - images["clean"] / 255)
                    error = error.mean(axis=-1) if error.ndim == 3 else error
                    below.imshow(error[part], cmap="gray_r", vmin=0, vmax=_DARKEST, interpolation="nearest")
            panels[2 * number][0].set_ylabel(row["clean"][2], fontsize=7)
            panels[2 * number + 1][0].set_ylabel("error, by the clean image", fontsize=7)
        for title, axes in zip(columns, panels[0], strict=True):
            axes.set_title(_headed(title), fontsize=8.5)
        publish(figure, path)
    return True


def _sheet(frame: pd.DataFrame, most: int) -> tuple[list[dict[str, tuple[str, str, str]]], list[str]]:
    """Return file, caption and folder of each image of a sheet, a mapping by column a row, and its columns."""
    rows = [_row(cells) for cells in _of_sheet(done_of(frame))][:most]
    columns = list(dict.fromkeys(title for row in rows for title in row))
    return rows, ["observed", *[c for c in columns if c not in ("observed", "clean")], "clean"]


def _of_sheet(done: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the cells of each row of a sheet: of a network on an observation, and the competitors on the same one."""
    observation = ["image", "beta_max", "noise"]
    competitors = dict(iter(done[done.arch.isna()].groupby(observation, sort=False)))
    fitted = done[done.arch.notna()].groupby(["arch", *observation], sort=False)
    yield from (
        competitors.values()
        if not len(fitted)
        else (pd.concat([cells, competitors.get(key[1:], cells.head(0))]) for key, cells in fitted)
    )


def _headed(title: str) -> str:
    return title + ("\n(sees the clean image)" if title == "staged, clean" else "")


def _liveliest(image: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the part, a quarter of each side, in which an image varies most."""
    height, width = (max(8, side // 4) for side in image.shape[:2])
    starts = [
        (top, left)
        for top in range(0, image.shape[0] - height + 1, max(1, height // 2))
        for left in range(0, image.shape[1] - width + 1, max(1, width // 2))
    ]
    top, left = max(starts, key=lambda start: float(image[start[0] :, start[1] :][:height, :width].std()))
    return slice(top, top + height), slice(left, left + width)


def _row(cells: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Return file, caption and folder of each column."""
    row: dict[str, tuple[str, str, str]] = {}
    for cell in cells.itertuples():
        title = f"staged, {cell.protocol}" if cell.method == "staged" else str(cell.method)
        row.setdefault(title, (str(cell.folder), "output.png", f"{cell.output_psnr:.2f} dB / {cell.output_ssim:.3f}"))
    first = cells.iloc[0]
    quality = f"{first.observed_psnr:.2f} dB / {first.observed_ssim:.3f}"
    row["observed"] = (str(first.folder), "observed.png", quality)
    noise = f"beta_max {first.beta_max:g}" + (f" {first.noise}" if first.noise != "gaussian" else "")
    known = [str(first.image), noise, *([str(first.arch)] if pd.notna(first.arch) else [])]
    row["clean"] = (str(first.folder), "clean.png", ", ".join(known))
    return row


def _panel(axes: Axes, root: Path, shown: tuple[str, str, str] | None) -> None:
    axes.set(xticks=[], yticks=[], frame_on=False)
    if shown is None or not (root / shown[0] / shown[1]).exists():
        axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
        return
    folder, file, caption = shown
    _show(axes, _read(root / folder / file))
    axes.set_xlabel(caption, fontsize=8)


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        image: NDArray[np.uint8] = np.asarray(file)
    return image


def _show(axes: Axes, image: NDArray[np.uint8]) -> None:
    axes.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255, interpolation="nearest")
