"""One HTML page a sweep: opens from disk, needs no network."""

from __future__ import annotations

import base64
import io
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from PIL import Image

from dip_stages.names import printable
from dip_stages.report.cell_files import CellFiles, folder_of
from dip_stages.report.frame import cell_keys, counted, done_of
from dip_stages.report.labels import labelled
from dip_stages.report.tables import formatted, to_html
from dip_stages.store.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from dip_stages.report.sections import Section

__all__ = ["write_page"]

_MOST_SHOWN = 200
"""Number of cells whose images are on the page, about 30 KB each."""

_IMAGES = ("observed", "result", "output", "average", "clean", "curve")
_COLUMNS = {
    "status": "status",
    "output_psnr": "PSNR",
    "output_ssim": "SSIM",
    "average_psnr": "PSNR of average",
    "result_psnr": "PSNR of result",
    "result_iteration": "iteration kept",
    "output_peak_psnr": "peak PSNR *",
    "result_gap": "gap of result *",
    "iterations": "iterations",
    "seconds": "seconds",
}


def write_page(
    root: Path, frame: pd.DataFrame, path: Path, *, sections: Sequence[Section], plots: Sequence[Path]
) -> None:
    """Write the page: failed cells and holes, the sections, a table of cells to sort and filter, and the plots.

    A click on a cell shows its images, one over another with a slider between, its curve and its configuration. Only
    the first :data:`_MOST_SHOWN` cells that are done have these.

    Args:
        root: The sweep's folder.
        frame: From :func:`dip_stages.report.load`.
        path: Where the page goes.
        sections: In the order of the page.
        plots: PNG files; those that exist are shown.
    """
    planned = labelled(frame[frame.planned])
    done = done_of(planned)
    bad = planned.drop(done.index)
    cells = {row.folder: _cell(root, str(row.folder)) for row in done.head(_MOST_SHOWN).itertuples()}
    bundle = resources.files("itables") / "html"
    environment = jinja2.Environment(autoescape=True, loader=jinja2.PackageLoader("dip_stages.report", "."))
    text = environment.get_template("page.html.j2").render(
        name=printable(root.name),
        counts=counted(planned.status),
        planned=len(planned),
        images=", ".join(sorted(planned.image.dropna().unique())),
        sees_clean=bool(planned.sees_clean.any()),
        bad=[(row.folder, row.status, row.error if isinstance(row.error, str) else "") for row in bad.itertuples()],
        header=[title for title, _ in _columns(planned)],
        rows=_rows(planned),
        shown=set(cells),
        more=len(done) > _MOST_SHOWN,
        most=_MOST_SHOWN,
        sections=[(section, to_html(section.table)) for section in sections],
        plots=[(plot.stem, _uri(plot.read_bytes(), "png")) for plot in plots if plot.exists()],
        cells=_json(cells),
        datatables=base64.b64encode((bundle / "dt_bundle.js").read_bytes()).decode(),
        css=(bundle / "dt_bundle.css").read_text(encoding="utf-8"),
    )
    write_text(path, text)


def _columns(planned: pd.DataFrame) -> list[tuple[str, str]]:
    """Return titles and columns of the table of cells: the axes that differ, then the metrics that have values."""
    axes = [axis for axis in cell_keys(planned) if planned[axis].nunique(dropna=False) > 1]
    metrics = [(title, column) for column, title in _COLUMNS.items() if planned[column].notna().any()]
    return [*((axis, axis) for axis in axes), *metrics]


def _rows(planned: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the folder of each cell, and for each of its columns the text that is shown and the key to sort by."""
    columns = _columns(planned)
    values = planned[[column for _, column in columns]].rename(columns={column: title for title, column in columns})
    shown, sorted_by = formatted(values), values.apply(_order)
    pairs = (list(zip(*row, strict=True)) for row in zip(shown.to_numpy(), sorted_by.to_numpy(), strict=True))
    return list(zip(planned.folder, pairs, strict=True))


def _order(column: pd.Series) -> pd.Series:
    """Return the keys to sort a column by: numbers as they are, holes before all of them."""
    return column.map(str, na_action="ignore").fillna("-1e99" if column.dtype.kind in "iuf" else "")


def _cell(root: Path, folder: str) -> dict[str, Any]:
    """Return a cell's part of the page's data: images and configuration."""
    files = CellFiles(folder_of(root, folder))
    if files.record is None:  # it was removed after its row was made
        return {"images": {}, "config": {}, "sees_clean": False}
    images = {name: _webp(content) for name in _IMAGES if (content := files.get(f"{name}.png"))}
    return {"images": images, "config": files.record.config, "sees_clean": files.record.sees_clean}


def _webp(png: bytes) -> str:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.convert("RGB").save(buffer, "WEBP", quality=80, method=0)  # a curve: 9 ms, 92 with the default method
    return _uri(buffer.getvalue(), "webp")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _json(values: object) -> str:
    """Return JSON that cannot end the script element that it is in."""
    return json.dumps(values, default=str).replace("<", "\\u003c")
