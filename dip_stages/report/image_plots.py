"""Plots of the images: side by side, and a part of each enlarged, with its error."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from dip_stages.plotting import publish, short, style
from dip_stages.report.cell_files import CellFiles, folder_of
from dip_stages.report.frame import are_competitors, done_of
from dip_stages.report.labels import labelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    _Pixels = NDArray[np.uint8]

__all__ = ["plot_details", "plot_sheet"]

_MOST_ROWS = 8
_MOST_DETAILS = 4
_DARKEST = 0.2
"""Absolute error on [0, 1] that is drawn black."""


class _Panel(NamedTuple):
    """An image of a sheet.

    Attributes:
        folder: The cell's.
        file: The image in it.
        caption: Below the image.
        sees_clean: Whether the clean image guided the fit.
    """

    folder: str
    file: str
    caption: str
    sees_clean: bool = False


_Row = dict[str, _Panel]
"""Of a sheet, by column."""


def plot_sheet(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw observed, baseline, staged and clean images side by side, a row a network, image and noise.

    The cell shown is the first planned one of its kind, never the best: choosing that would need the clean image. The
    column of a protocol that sees the clean image is marked.

    Args:
        root: The sweep's folder.
        frame: From :func:`dip_stages.report.load`.
        path: Where the plot goes; the same as SVG goes beside it.

    Returns:
        Whether there was anything to draw.
    """
    rows, columns = _sheet(frame, _MOST_ROWS)
    if not rows:
        return False
    with style():
        figure = Figure(figsize=(2.3 * len(columns), 2.65 * len(rows)), layout="constrained")
        panels = figure.subplots(len(rows), len(columns), squeeze=False)
        for row, across in zip(rows, panels, strict=True):
            for title, axes in zip(columns, across, strict=True):
                _draw_panel(axes, root, row.get(title))
        _set_titles(panels[0], rows, columns)
        publish(figure, path)
    return True


def plot_details(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw a part of each image of the sheet, enlarged, and below it the error against the clean image.

    The part is the quarter of a side in which the *observed* image varies most. The error is the absolute difference,
    mean over channels, and needed the clean image; white is none, black :data:`_DARKEST` or more.

    Args:
        root: The sweep's folder.
        frame: From :func:`dip_stages.report.load`.
        path: Where the plot goes; the same as SVG goes beside it.

    Returns:
        Whether there was anything to draw.
    """
    rows, columns = _sheet(frame, _MOST_DETAILS)
    found = [(row, {title: _read(root, panel) for title, panel in row.items()}) for row in rows]
    whole = [(row, {title: image for title, image in images.items() if image is not None}) for row, images in found]
    whole = [(row, images) for row, images in whole if len(images) == len(row)]
    if not whole:
        return False
    rows = [row for row, _ in whole]
    with style():
        figure = Figure(figsize=(1.9 * len(columns), 4.1 * len(rows)), layout="constrained")
        panels = figure.subplots(2 * len(rows), len(columns), squeeze=False)
        for (row, images), above, below in zip(whole, panels[::2], panels[1::2], strict=True):
            _draw_details(row, images, columns, above, below)
        _set_titles(panels[0], rows, columns)
        publish(figure, path)
    return True


def _draw_details(
    row: _Row, images: dict[str, _Pixels], columns: Sequence[str], above: Sequence[Axes], below: Sequence[Axes]
) -> None:
    """Draw the enlarged parts of a row, and their errors below."""
    part = _most_varied(images["observed"])
    for title, upper, lower in zip(columns, above, below, strict=True):
        for axes in (upper, lower):
            axes.set(xticks=[], yticks=[], frame_on=False)
        if title not in images:
            continue
        _show(upper, images[title][part])
        if title != "clean":
            error = np.abs(images[title] / 255 - images["clean"] / 255)
            error = error.mean(axis=-1) if error.ndim == 3 else error
            lower.imshow(error[part], cmap="gray_r", vmin=0, vmax=_DARKEST, interpolation="nearest")
    above[0].set_ylabel(row["clean"].caption, fontsize=7)
    below[0].set_ylabel("error, by the clean image", fontsize=7)


def _set_titles(panels: Sequence[Axes], rows: Sequence[_Row], columns: Sequence[str]) -> None:
    for title, axes in zip(columns, panels, strict=True):
        marked = any(title in row and row[title].sees_clean for row in rows)
        axes.set_title(title + ("\n(sees the clean image)" if marked else ""), fontsize=8.5)


def _sheet(frame: pd.DataFrame, most: int) -> tuple[list[_Row], list[str]]:
    """Return the rows of a sheet, and the titles of its columns."""
    rows = [_row(cells) for cells in _cells_of_rows(done_of(frame))][:most]
    columns = list(dict.fromkeys(title for row in rows for title in row))
    return rows, ["observed", *[c for c in columns if c not in ("observed", "clean")], "clean"]


def _cells_of_rows(done: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the cells of each row: those of a network on an observation, and the competitors on the same one."""
    observation = ["image", "beta_max", "noise"]
    compared = are_competitors(done)
    competitors = dict(iter(done[compared].groupby(observation, sort=False)))
    fitted = done[~compared].groupby(["arch", *observation], sort=False)
    yield from (
        competitors.values()
        if not len(fitted)
        else (pd.concat([cells, competitors.get(key[1:], cells.head(0))]) for key, cells in fitted)
    )


def _row(cells: pd.DataFrame) -> _Row:
    row: _Row = {}
    for cell in labelled(cells).itertuples():
        title = f"staged, {cell.protocol}" if cell.method == "staged" else str(cell.method)
        quality = f"{cell.output_psnr:.2f} dB / {cell.output_ssim:.3f}"
        row.setdefault(
            title, _Panel(str(cell.folder), "output.png", quality, sees_clean=bool(cell.protocol == "clean"))
        )
    first = cells.iloc[0]
    quality = f"{first.observed_psnr:.2f} dB / {first.observed_ssim:.3f}"
    row["observed"] = _Panel(str(first.folder), "observed.png", quality)
    noise = f"beta_max {first.beta_max:g}" + (f" {first.noise}" if first.noise != "gaussian" else "")
    names = [short(first.image), noise, *([str(first.arch)] if pd.notna(first.arch) else [])]
    row["clean"] = _Panel(str(first.folder), "clean.png", ", ".join(names))
    return row


def _most_varied(image: _Pixels) -> tuple[slice, slice]:
    """Return the part, a quarter of each side, in which an image varies most."""
    height, width = (max(8, side // 4) for side in image.shape[:2])
    starts = [
        (top, left)
        for top in range(0, image.shape[0] - height + 1, max(1, height // 2))
        for left in range(0, image.shape[1] - width + 1, max(1, width // 2))
    ]
    top, left = max(starts, key=lambda start: float(image[start[0] :, start[1] :][:height, :width].std()))
    return slice(top, top + height), slice(left, left + width)


def _draw_panel(axes: Axes, root: Path, panel: _Panel | None) -> None:
    axes.set(xticks=[], yticks=[], frame_on=False)
    image = _read(root, panel) if panel else None
    if panel is None or image is None:
        axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
        return
    _show(axes, image)
    axes.set_xlabel(panel.caption, fontsize=8)


def _read(root: Path, panel: _Panel) -> _Pixels | None:
    content = CellFiles(folder_of(root, panel.folder)).get(panel.file)
    if content is None:
        return None
    with Image.open(io.BytesIO(content), formats=["PNG"]) as file:
        return np.asarray(file)


def _show(axes: Axes, image: _Pixels) -> None:
    axes.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255, interpolation="nearest")
