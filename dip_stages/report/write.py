"""Writes a sweep's report, and returns its text for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from dip_stages.names import printable
from dip_stages.report.axis_plots import plot_effects, plot_grid
from dip_stages.report.curve_plots import plot_curves
from dip_stages.report.ensembles import ensemble_of
from dip_stages.report.escaping import markdown, to_csv
from dip_stages.report.frame import are_competitors, counted, to_frame, write_frame
from dip_stages.report.image_plots import plot_details, plot_sheet
from dip_stages.report.page import write_page
from dip_stages.report.paired_effects import effects
from dip_stages.report.rows import found_in
from dip_stages.report.sections import sections
from dip_stages.report.stopping import monitors_of, to_monitors
from dip_stages.report.stopping_plots import plot_gaps
from dip_stages.report.tables import grid, protocols, to_html, to_latex, to_markdown
from dip_stages.store.files import make_folder, write_text
from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import plural

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["report_sweep"]

_NOTES = """\
PSNR in dB and SSIM of the raw output after the last iteration, against the clean image.
* at the iteration that is best against the clean image: nobody without it could have stopped there.
"""

_COMPETITORS = """\
(competitor): no Deep Image Prior, on the same observation. (trained competitor): it has learnt from other images.
"""

_OTHER_IMAGE = "No difference is shown: the course report's numbers are of another image (a butterfly on white).\n"

_DAMAGED = """\
Files that are not as they were written, and are not shown; sweep.retry_damaged=true computes their cells again. The
numbers above are those of the records, which are whole."""


class _Gathered(NamedTuple):
    """A sweep's frames.

    Attributes:
        cells: As :func:`dip_stages.report.load` returns it.
        monitors: As :func:`dip_stages.report.load_readings`.
        ensembles: As :func:`dip_stages.report.ensembles.load_ensembles`.
        steps: As :func:`dip_stages.report.effects`.
    """

    cells: pd.DataFrame
    monitors: pd.DataFrame
    ensembles: pd.DataFrame
    steps: pd.DataFrame


def report_sweep(root: str | os.PathLike[str]) -> str:
    """Gather a sweep from disk and write ``<sweep>/report/``.

    Written: ``index.html``, which opens from disk; ``cells.csv`` and ``.parquet`` (a row a cell), ``readings.csv`` (a
    row a cell and monitor), ``ensembles.csv`` (a row an ensemble); as CSV, Markdown, LaTeX and HTML ``grid_<protocol>``
    and the tables of :func:`dip_stages.report.sections.sections`; all of it as text in ``report.md``; and as PNG and
    SVG ``curves``, ``pictures``, ``details``, ``grid``, ``effects`` and ``gaps``.

    Args:
        root: The sweep's folder.

    Returns:
        The text for the terminal: the tables, the holes, and where the files are.

    Raises:
        RecordError: If there is nothing to report on.
        OutdatedError: If an older version of this package wrote the sweep; its folder stays as it is.
    """
    root = Path(root)
    gathered = _gathered(root)
    frame, folder = gathered.cells, root / "report"
    make_folder(folder)
    _write_frames(gathered, folder)
    shown = sections(frame, gathered.steps, gathered.monitors, gathered.ensembles)
    for section in shown:
        _write_table(folder / section.file, section.table)
    for protocol in protocols(frame):
        _write_table(folder / f"grid_{protocol}", grid(frame, protocol))
    below = (_notes(frame), _holes(frame), _damaged(frame))
    text = "\n".join([f"# {markdown(root.name)}: {_summary(frame)}\n", *map(str, shown), *below])
    plots = _draw(root, gathered, folder)
    write_text(folder / "report.md", text + "".join(f"\n![{plot.name}]({plot.name})\n" for plot in plots))
    verdicts_first = sorted(shown, key=lambda section: section.file != "claims")
    write_page(root, frame, folder / "index.html", sections=verdicts_first, plots=plots)
    names = ", ".join(plot.name for plot in plots) or "no plots"
    return f"{text}Written to {printable(folder)}: index.html, report.md, tables, {names}\n"


def _gathered(root: Path) -> _Gathered:
    """Return the frames of a sweep; each record is read once, and none is kept."""
    cells: list[dict[str, Any]] = []
    monitors: list[dict[str, Any]] = []
    ensembles: list[dict[str, Any]] = []
    for found in found_in(root):
        cells.append(found.row)
        if found.record:
            monitors += monitors_of(found.record)
            ensembles += ensemble_of(found.record)
    frame = to_frame(cells)
    return _Gathered(frame, to_monitors(monitors, frame), pd.DataFrame(ensembles), effects(frame))


def _write_frames(gathered: _Gathered, folder: Path) -> None:
    write_frame(gathered.cells, folder)
    for name, rows in (("readings", gathered.monitors), ("ensembles", gathered.ensembles)):
        if not rows.empty:
            write_text(folder / f"{name}.csv", to_csv(rows))


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, Markdown, LaTeX and HTML."""
    write_text(path.with_suffix(".csv"), to_csv(table))
    for ending, text in ((".md", to_markdown(table)), (".tex", to_latex(table)), (".html", to_html(table))):
        write_text(path.with_suffix(ending), f"{text.rstrip()}\n")


def _draw(root: Path, gathered: _Gathered, folder: Path) -> list[Path]:
    """Draw the plots that have something to show, and return their files."""
    frame = gathered.cells
    plots: dict[str, Callable[[Path], bool]] = {
        "curves.png": lambda path: plot_curves(root, frame, path),
        "pictures.png": lambda path: plot_sheet(root, frame, path),
        "details.png": lambda path: plot_details(root, frame, path),
        "grid.png": lambda path: plot_grid(frame, path),
        "effects.png": lambda path: plot_effects(gathered.steps, path),
        "gaps.png": lambda path: plot_gaps(gathered.monitors, path),
    }
    return [folder / name for name, draw in plots.items() if draw(folder / name)]


def _notes(frame: pd.DataFrame) -> str:
    competitors = _COMPETITORS if are_competitors(frame).any() else ""
    return _NOTES + competitors + ("" if frame.course_image.all() else _OTHER_IMAGE)


def _summary(frame: pd.DataFrame) -> str:
    planned, others = frame[frame.planned], frame[~frame.planned]
    images = ", ".join(sorted(frame.image.dropna().unique()))
    outdated = int((others.status == CellStatus.OUTDATED).sum())
    left_out = {"of an older version": outdated, "not planned": len(others) - outdated}
    further = "".join(f"; {plural(count, 'cell')} {why}, left out" for why, count in left_out.items() if count)
    return f"{counted(planned.status)} of {len(planned)} cells, on {markdown(images)}{further}"


def _holes(frame: pd.DataFrame) -> str:
    holes = frame[frame.planned & (frame.status != CellStatus.DONE)]
    if holes.empty:
        return ""
    reasons = holes.error.map(lambda error: f", {error}" if pd.notna(error) else "")
    lines = ("- " + holes.folder + ": " + holes.status + reasons).map(markdown).tolist()
    return "\n".join(["Holes:", *lines, ""])


def _damaged(frame: pd.DataFrame) -> str:
    cells = frame[frame.planned & frame.damaged.notna()]
    if cells.empty:
        return ""
    lines = ("- " + cells.folder + ": " + cells.damaged).map(markdown).tolist()
    return "\n".join([_DAMAGED, *lines, ""])
