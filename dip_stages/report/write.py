"""Writes a sweep's report, and says it in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dip_stages.files import replacing, write_text
from dip_stages.report.charts import plot_effects, plot_grid
from dip_stages.report.claims import verdicts
from dip_stages.report.ensembles import ensemble_of, ensemble_table
from dip_stages.report.frame import found_in, to_frame
from dip_stages.report.pairs import effects
from dip_stages.report.plots import plot_curves, plot_details, plot_gaps, plot_sheet
from dip_stages.report.readings import readings_of, stopping_table, to_readings
from dip_stages.report.tables import comparison, grid, protocols, to_html, to_latex, to_markdown

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from dip_stages.records import Record

__all__ = ["describe", "report_sweep"]

_TITLES = {
    "clean": "protocol clean – SEES THE CLEAN PICTURE: the report's own procedure, a reproduction and no denoiser",
    "renoised": "protocol renoised – blind: stage targets are the observed picture plus extra noise",
    "observed": "protocol observed – blind: every stage is fitted to the observed picture",
    "recorrupted": "protocol recorrupted – blind: the input gets noise and the target loses it, anew each time",
    "none": "baselines",
}

_NOTES = """\
PSNR in dB and SSIM of the raw output after the last iteration, against the clean picture.
* at the iteration that is best against the clean picture: nobody without it could have stopped there.
"""

_OTHER_PICTURE = "No difference is shown: the course report's figures are of another picture (a butterfly on white).\n"


def report_sweep(root: str | os.PathLike[str]) -> str:
    """Gather a sweep from disk and write ``<sweep>/report/``.

    Written: ``cells.csv`` and ``.parquet`` (a row a cell); ``table_<protocol>``, ``grid_<protocol>``, ``effects`` and
    ``claims`` as CSV, Markdown, LaTeX and HTML; ``report.md``; as PNG and SVG ``curves``, ``pictures``, ``details``,
    ``grid`` and ``effects``; where rules read along, ``readings.csv`` (a row a cell and rule), ``stopping.md`` and
    ``gaps``; and of ensembles, ``ensembles.csv`` and ``ensembles.md``.

    Args:
        root: The sweep's folder.

    Returns:
        The text for the terminal: the tables, the holes, and where the files are.

    Raises:
        RecordError: If there is nothing to report on.
    """
    root = Path(root)
    frame, readings, ensembles = _gathered(root)
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    write_text(folder / "cells.csv", frame.to_csv(index=False))
    with replacing(folder / "cells.parquet") as temporary:
        frame.to_parquet(temporary, index=False)
    sections, axes = [], effects(frame)
    for protocol in protocols(frame):
        table = comparison(frame, protocol)
        if table.empty:
            continue
        _write_table(folder / f"table_{protocol}", table)
        _write_table(folder / f"grid_{protocol}", grid(frame, protocol))
        sections.append(f"## {_TITLES.get(protocol, protocol)}\n\n{to_markdown(table)}\n")
    sections += [
        *_stopping(readings, folder),
        *_ensembles(ensembles, folder),
        *_effects(axes, folder),
        *_verdicts(frame, folder),
    ]
    notes = _NOTES + ("" if frame.reports_picture.all() else _OTHER_PICTURE)
    text = "\n".join([f"# {root.name}: {_summary(frame)}\n", *sections, notes, _holes(frame)])
    figures: dict[str, Callable[[Path], bool]] = {
        "curves.png": lambda path: plot_curves(root, frame, path),
        "pictures.png": lambda path: plot_sheet(root, frame, path),
        "details.png": lambda path: plot_details(root, frame, path),
        "grid.png": lambda path: plot_grid(frame, path),
        "effects.png": lambda path: plot_effects(axes, path),
        "gaps.png": lambda path: plot_gaps(readings, path),
    }
    drawn = [name for name, draw in figures.items() if draw(folder / name)]
    write_text(folder / "report.md", text + "".join(f"\n![{name}]({name})\n" for name in drawn))
    return f"{text}Written to {folder}: report.md, tables, {', '.join(drawn) or 'no figures'}\n"


def _gathered(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return cells, readings and ensembles of a sweep; each record is read once, and none is kept."""
    cells: list[dict[str, Any]] = []
    readings: list[dict[str, Any]] = []
    ensembles: list[dict[str, Any]] = []
    for found in found_in(root):
        cells.append(found.row)
        readings += readings_of(found.record)
        ensembles += ensemble_of(found.record)
    frame = to_frame(cells)
    return frame, to_readings(readings, frame), pd.DataFrame(ensembles)


_STOPPING_NOTES = """\
Rules that read along the same fits, and the iteration that each would have chosen. gap: PSNR of the average at the best
iteration of the same fit, found with the clean picture, less that at the iteration chosen, in dB; mean and worst over
pictures, noise levels and seeds. PSNR and SSIM are the average's there; vs baseline: the difference to the plain
baseline under the rule of the same name (auto is each method's own), on the same observation with the same seed. spent:
iterations after which the rule knew.
Rules marked * look at the clean picture: nobody who denoises has it.
"""


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, Markdown, LaTeX and HTML."""
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    for ending, text in ((".md", to_markdown(table)), (".tex", to_latex(table)), (".html", to_html(table))):
        write_text(path.with_suffix(ending), f"{text.rstrip()}\n")


def _effects(table: pd.DataFrame, folder: Path) -> list[str]:
    """Write what each axis does, and return the section for the report; none where no two cells differ in one alone."""
    if table.empty:
        return []
    shown = table.drop(columns=["low", "high"])
    _write_table(folder / "effects", shown)
    return [f"## What each axis does\n\n{to_markdown(shown)}\n\n{_EFFECTS_NOTES}"]


_EFFECTS_NOTES = """\
Mean difference of the raw output's PSNR (dB) and SSIM after the last iteration, over pairs of cells that differ in that
axis alone; a 95% bootstrap interval over pictures, and p of Wilcoxon's signed-rank test.
"""


def _verdicts(frame: pd.DataFrame, folder: Path) -> list[str]:
    """Write verdicts on the course report's claims, and return the section for the report; none if none is tested."""
    table = verdicts(frame)
    if table.empty or (table.verdict == "untested").all():
        return []
    _write_table(folder / "claims", table)
    tested = table[table.verdict != "untested"]
    rest = ", ".join(
        f"{claim} ({text})"
        for claim, text in dict.fromkeys(zip(table.claim, table.text, strict=True))
        if text not in set(tested.text)
    )
    untested = f"Untested here: {rest}.\n" if rest else ""
    return [f"## The course report's claims\n\n{to_markdown(tested)}\n\n{untested}{_VERDICTS_NOTES}"]


_VERDICTS_NOTES = """\
Of cells that ran all their iterations. effect: mean paired difference in PSNR, or times as long an iteration (C6), or
dB from the best iteration (C7), with a 95% bootstrap interval over pictures and p of Wilcoxon's signed-rank test. Fewer
than 6 pairs, or one picture, decide nothing. What sees the clean picture is a reproduction and no denoiser.
"""


def _stopping(readings: pd.DataFrame, folder: Path) -> list[str]:
    """Write what readers chose, and return the section for the report; none where none read along."""
    if readings.empty:
        return []
    write_text(folder / "readings.csv", readings.to_csv(index=False))
    if "average_gap" not in readings:
        return []
    table = stopping_table(readings)
    marked = table.assign(reader=table.reader + table["needs clean"].map({True: " *", False: ""}))
    shown = to_markdown(marked.drop(columns="needs clean"))
    write_text(folder / "stopping.md", f"{shown}\n")
    return [f"## Where each rule would have stopped\n\n{shown}\n\n{_STOPPING_NOTES}"]


def _ensembles(ensembles: pd.DataFrame, folder: Path) -> list[str]:
    """Write what ensembles gained, and return the section for the report; none where there are none."""
    if ensembles.empty:
        return []
    write_text(folder / "ensembles.csv", ensembles.to_csv(index=False))
    shown = to_markdown(ensemble_table(ensembles))
    write_text(folder / "ensembles.md", f"{shown}\n")
    return [f"## Ensembles\n\n{shown}\n\n{_ENSEMBLE_NOTES}"]


_ENSEMBLE_NOTES = """\
The mean of independent fits of the same observation, beside the mean of its members' own figures; gain in dB.
"""


def describe(record: Record, folder: Path) -> str:
    """Return a single cell's figures and folder, for the terminal."""
    if record.metrics is None:
        error = record.error or {}
        return f"failed: {error.get('message')}\n{folder}\n"
    observed, result = record.observation, record.metrics["result"]
    lines = [f"{'observed':10} PSNR {observed['psnr']:6.2f} dB  SSIM {observed['ssim']:.4f}"]
    for picture in ("output", "average"):
        end, peak = record.metrics[picture]["end"], record.metrics[picture]["peak"]
        lines.append(f"{picture:10} PSNR {end['psnr']:6.2f} dB  SSIM {end['ssim']:.4f}  {_where(record, end, peak)}")
    where = f"the {result['of']}" + ("" if record.members else f" at iteration {result['iteration']}")
    lines.append(
        f"{'result':10} PSNR {result['psnr']:6.2f} dB  SSIM {result['ssim']:.4f}  {where}, {_by(record.stopping or {})}"
    )
    if record.sees_clean:
        lines.append("This cell was guided by the clean picture: a reproduction of the report, no denoiser.")
    return "\n".join([*lines, f"{record.timing['seconds']:.0f} s, {folder}", ""])


def _where(record: Record, end: dict[str, Any], peak: dict[str, Any] | None) -> str:
    if peak is None:
        each = ", ".join(f"{member['metrics']['result']['psnr']:.2f}" for member in record.members)
        return f"mean of {len(record.members)} members, whose results have {each} dB"
    found = f"(peak {peak['psnr']:.2f} dB at {peak['iteration']}, found with the clean picture)"
    return f"after {end['iteration']} iterations  {found}"


def _by(stopping: dict[str, Any]) -> str:
    if stopping["rule"] == "none":
        return "the last"
    sigma = stopping["sigma"]
    level = f", sigma {sigma['value'] * 255:.1f}/255 {sigma['source']}" if sigma else ""
    end = "" if stopping["decided"] else ", which came to no decision"
    return f"by the rule {stopping['rule']}{level}{end}"


def _summary(frame: pd.DataFrame) -> str:
    planned = frame[frame.planned]
    counts = ", ".join(f"{count} {state}" for state, count in planned.status.value_counts().items())
    others = len(frame) - len(planned)
    pictures = ", ".join(sorted(frame.picture.dropna().unique()))
    return f"{counts} of {len(planned)} cells, on {pictures}" + (f"; {others} not planned, left out" if others else "")


def _holes(frame: pd.DataFrame) -> str:
    holes = frame[frame.planned & (frame.status != "done")]
    if holes.empty:
        return ""
    reasons = holes.error.map(lambda error: f", {error}" if error else "")
    lines = ("- " + holes.folder + ": " + holes.status + reasons).tolist()
    return "\n".join(["Holes:", *lines, ""])
