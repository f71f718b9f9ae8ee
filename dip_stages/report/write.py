"""Writes a sweep's report, and says it in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dip_stages.report.axis_plots import plot_effects, plot_grid
from dip_stages.report.curve_plots import plot_curves
from dip_stages.report.ensembles import ensemble_of
from dip_stages.report.frame import found_in, groups_of, to_frame, write_frame
from dip_stages.report.image_plots import plot_details, plot_sheet
from dip_stages.report.page import write_page
from dip_stages.report.paired_effects import effects
from dip_stages.report.sections import sections
from dip_stages.report.stopping import monitors_of, to_monitors
from dip_stages.report.stopping_plots import plot_gaps
from dip_stages.report.tables import grid, protocols, to_html, to_latex, to_markdown
from dip_stages.store.files import write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from dip_stages.store.record_fields import End, Peak, Stopping
    from dip_stages.store.records import Record

__all__ = ["describe", "report_sweep"]

_NOTES = """\
PSNR in dB and SSIM of the raw output after the last iteration, against the clean image.
* at the iteration that is best against the clean image: nobody without it could have stopped there.
"""

_COMPETITORS = """\
(competitor): no Deep Image Prior, on the same observation. (trained competitor): it has learnt from other images.
"""

_OTHER_IMAGE = "No difference is shown: the course report's figures are of another image (a butterfly on white).\n"


def report_sweep(root: str | os.PathLike[str]) -> str:
    """Gather a sweep from disk and write ``<sweep>/report/``.

    Written: ``index.html``, which opens from disk; ``cells.csv`` and ``.parquet`` (a row a cell), ``readings.csv`` (a
    row a cell and monitor), ``ensembles.csv`` (a row an ensemble); as CSV, Markdown, LaTeX and HTML
    ``table_<protocol>``, ``grid_<protocol>``, and what there is of :func:`dip_stages.report.sections.sections`; all of
    it as text in ``report.md``; and as PNG and SVG ``curves``, ``images``, ``details``, ``grid``, ``effects`` and
    ``gaps``.

    Args:
        root: The sweep's folder.

    Returns:
        The text for the terminal: the tables, the holes, and where the files are.

    Raises:
        RecordError: If there is nothing to report on.
    """
    root = Path(root)
    frame, monitors, ensembles = _gathered(root)
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    write_frame(frame, folder)
    axes = effects(frame)
    for name, rows in (("readings", monitors), ("ensembles", ensembles)):
        if not rows.empty:
            write_text(folder / f"{name}.csv", rows.to_csv(index=False))
    shown = sections(frame, axes, monitors, ensembles)
    for section in shown:
        _write_table(folder / section.file, section.table)
    for protocol in protocols(frame):
        _write_table(folder / f"grid_{protocol}", grid(frame, protocol))
    notes = _NOTES + (_COMPETITORS if (groups_of(frame) == "competitors").any() else "")
    notes += "" if frame.course_image.all() else _OTHER_IMAGE
    text = "\n".join([f"# {root.name}: {_summary(frame)}\n", *map(str, shown), notes, _holes(frame)])
    figures: dict[str, Callable[[Path], bool]] = {
        "curves.png": lambda path: plot_curves(root, frame, path),
        "pictures.png": lambda path: plot_sheet(root, frame, path),
        "details.png": lambda path: plot_details(root, frame, path),
        "grid.png": lambda path: plot_grid(frame, path),
        "effects.png": lambda path: plot_effects(axes, path),
        "gaps.png": lambda path: plot_gaps(monitors, path),
    }
    drawn = [name for name, draw in figures.items() if draw(folder / name)]
    write_text(folder / "report.md", text + "".join(f"\n![{name}]({name})\n" for name in drawn))
    # Verdicts come first: whoever opens a page wants to know what came of it.
    tables = {section.title: section.table for section in sorted(shown, key=lambda section: section.file != "claims")}
    write_page(root, frame, folder / "index.html", tables=tables, figures=[folder / name for name in drawn])
    return f"{text}Written to {folder}: index.html, report.md, tables, {', '.join(drawn) or 'no figures'}\n"


def _gathered(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return cells, monitors and ensembles of a sweep; each record is read once, and none is kept."""
    cells: list[dict[str, Any]] = []
    monitors: list[dict[str, Any]] = []
    ensembles: list[dict[str, Any]] = []
    for found in found_in(root):
        cells.append(found.row)
        if found.record:
            monitors += monitors_of(found.record)
            ensembles += ensemble_of(found.record)
    frame = to_frame(cells)
    return frame, to_monitors(monitors, frame), pd.DataFrame(ensembles)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, Markdown, LaTeX and HTML."""
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    for ending, text in ((".md", to_markdown(table)), (".tex", to_latex(table)), (".html", to_html(table))):
        write_text(path.with_suffix(ending), f"{text.rstrip()}\n")


def describe(record: Record, folder: Path) -> str:
    """Return a single cell's figures and folder, for the terminal."""
    if record.metrics is None:
        return f"failed: {record.error and record.error['message']}\n{folder}\n"
    observed, result = record.observation, record.metrics["result"]
    lines = [f"{'observed':10} PSNR {observed['psnr']:6.2f} dB  SSIM {observed['ssim']:.4f}"]
    if "given" in observed:
        given = observed["given"]["sigma"]
        level = f"sigma {given['value'] * 255:.1f}/255 {given['source']}"
        lines.append(
            f"{'result':10} PSNR {result['psnr']:6.2f} dB  SSIM {result['ssim']:.4f}  "
            f"{record.cell['axes']['method']}, {level}"
        )
        return "\n".join([*lines, f"{record.timing['seconds']:.0f} s, {folder}", ""])
    for image in ("output", "average"):
        if metrics := record.metrics[image]:
            end, peak = metrics["end"], metrics["peak"]
            lines.append(f"{image:10} PSNR {end['psnr']:6.2f} dB  SSIM {end['ssim']:.4f}  {_where(record, end, peak)}")
    where = f"the {result['of']}" + ("" if record.members else f" at iteration {result['iteration']}")
    lines.append(
        f"{'result':10} PSNR {result['psnr']:6.2f} dB  SSIM {result['ssim']:.4f}  {where}, {_by(record.stopping)}"
    )
    if record.sees_clean:
        lines.append("This cell was guided by the clean image: a reproduction of the report, no denoiser.")
    return "\n".join([*lines, f"{record.timing['seconds']:.0f} s, {folder}", ""])


def _where(record: Record, end: End, peak: Peak | None) -> str:
    if peak is None:
        each = ", ".join(f"{member['metrics']['result']['psnr']:.2f}" for member in record.members)
        return f"mean of {len(record.members)} members, whose results have {each} dB"
    found = f"(peak {peak['psnr']:.2f} dB at {peak['iteration']}, found with the clean image)"
    return f"after {end['iteration']} iterations  {found}"


def _by(stopping: Stopping | None) -> str:
    if stopping is None or stopping["rule"] == "none":
        return "the last"
    sigma = stopping["sigma"]
    level = f", sigma {sigma['value'] * 255:.1f}/255 {sigma['source']}" if sigma else ""
    end = "" if stopping["decided"] else ", which came to no decision"
    return f"by the rule {stopping['rule']}{level}{end}"


def _summary(frame: pd.DataFrame) -> str:
    planned = frame[frame.planned]
    counts = ", ".join(f"{count} {state}" for state, count in planned.status.value_counts().items())
    others = len(frame) - len(planned)
    images = ", ".join(sorted(frame.image.dropna().unique()))
    return f"{counts} of {len(planned)} cells, on {images}" + (f"; {others} not planned, left out" if others else "")


def _holes(frame: pd.DataFrame) -> str:
    holes = frame[frame.planned & (frame.status != "done")]
    if holes.empty:
        return ""
    reasons = holes.error.map(lambda error: f", {error}" if pd.notna(error) else "")
    lines = ("- " + holes.folder + ": " + holes.status + reasons).tolist()
    return "\n".join(["Holes:", *lines, ""])
