"""Writes the outcome of ``sweep=stopping_tuning`` and ``sweep=stopping`` into a document: ``make stopping``.

``python -m tests.bench.study outputs/stopping_tuning outputs/stopping --into docs/stopping.md`` replaces the text there
between ``<!-- NAME -->`` and ``<!-- /NAME -->``, where NAME is the sweep's. It writes into ``docs/NAME`` the plot,
``readings.csv`` with a row a cell and monitor, and an archive of plan, records and curves. Unpacked into
``outputs/NAME``, the archive lets the sweep resume.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.report.ensembles import ensemble_table, load_ensembles
from dip_stages.report.frame import counted, load
from dip_stages.report.stopping import kinds, load_readings, stopping_table
from dip_stages.report.stopping_plots import plot_gaps
from dip_stages.report.tables import to_markdown
from dip_stages.store.files import replacing, write_text
from dip_stages.store.records import CURVES, PLAN, RECORD

if TYPE_CHECKING:
    import pandas as pd

DEFAULT, ESTIMATED = "auto", "auto_estimated"
"""The monitors of the default rule, with sigma known and estimated."""


def targets(monitors: pd.DataFrame, ensembles: pd.DataFrame, check_every: int) -> list[str]:
    """Return results beside their targets, a line a kind of cell."""
    lines = []
    for kind, cells in monitors.groupby(kinds(monitors, but=["protocol.sigma"]), sort=False):
        results = _results(cells, check_every)
        if results:
            lines.append(f"- {kind}: {'; '.join(_judged(text, met=met) for text, met in results)}.")
    if not ensembles.empty:
        for method, gain in ensembles.groupby("method", sort=False).gain.mean().items():
            result = _judged(f"{gain:.2f} dB over one run", met=gain >= 0.5)
            lines.append(f"- Ensembles, {method}: {result}.")
    return lines


def _results(cells: pd.DataFrame, check_every: int) -> list[tuple[str, bool]]:
    """Return the results of one kind of cells, and whether each meets its target.

    A recorrupted fit has a source of sigma of its own, which must be the rule's.
    """
    own = cells.fit_sigma.notna()
    known = cells[(cells.monitor == DEFAULT) & (~own | (cells.fit_sigma == "known"))]
    estimated = cells[(cells.monitor == ESTIMATED) & (~own | (cells.fit_sigma == "estimate"))]
    results = []
    if len(known):
        gap, worst = known.average_gap.mean(), known.average_gap.max()
        spent, peak = known.spent.mean(), known.peak_iteration.mean()
        results = [
            (f"mean gap {gap:.2f} dB", gap <= 0.10),
            (f"worst {worst:.2f} dB", worst <= 0.5),
            (f"{spent:.0f} iterations spent, {peak:.0f} at the peak", spent <= peak + check_every),
        ]
    if len(estimated):
        gap = estimated.average_gap.mean()
        results.append((f"mean gap with sigma estimated {gap:.2f} dB", gap <= 0.25))
    return results


def _judged(text: str, *, met: bool) -> str:
    return f"{text} ({'met' if met else 'missed'})"


def section(folder: Path) -> str:
    """Return a sweep's tables."""
    frame = load(folder)
    monitors, ensembles = load_readings(folder), load_ensembles(folder)
    if "average_gap" not in monitors:
        sys.exit(f"{folder}: no cell in it has monitors; allowed: a sweep with monitors=all, some of it done")
    counts = counted(frame[frame.planned].status)
    images = ", ".join(sorted(frame.image.dropna().unique()))
    seconds = frame.seconds.sum()
    parts = [f"{counts} of {int(frame.planned.sum())} cells, on {images}; {seconds / 3600:.1f} hours of one core."]
    marked = monitors.assign(monitor=monitors.monitor + monitors["needs_clean"].map({True: " *", False: ""}))
    parts.append(to_markdown(stopping_table(marked).drop(columns="needs clean")))
    default = monitors[monitors.monitor == DEFAULT]
    by_level = stopping_table(default, by=["beta_max"]).drop(columns=["needs clean", "monitor"])
    by_level.insert(1, "sigma", (by_level.pop("beta_max") ** 0.5 * 255).round().astype(int))
    parts.append("The default rule by noise level, sigma of 255:")
    parts.append(to_markdown(by_level))
    if not ensembles.empty:
        parts += ["Ensembles:", to_markdown(ensemble_table(ensembles))]
    parts.append("\n".join(["Aimed at, and what came of it:", "", *targets(monitors, ensembles, check_every=20)]))
    return "\n\n".join(parts)


def replaced(document: str, name: str, text: str) -> str:
    """Return a document with the text between the marks of that name replaced.

    Raises:
        ValueError: If the document has no such marks.
    """
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", flags=re.S)
    if not marks.search(document):
        raise ValueError(f"no <!-- {name} --> … <!-- /{name} --> in the document")
    return marks.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", document)


def archive(folder: Path, path: Path) -> None:
    """Write an archive of a sweep's plan, records and curves; the same files give the same bits."""
    files = [*folder.glob(PLAN), *folder.glob(f"*/{RECORD}"), *folder.glob(f"*/{CURVES}")]
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for file in sorted(files):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # dated 1980, whenever it is written
            packed.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


def publish(folder: Path, document: Path) -> None:
    """Write a sweep's tables into a document; its plot, monitors and archive go into a folder beside it."""
    text, monitors = section(folder), load_readings(folder)
    plot = document.parent / folder.name / "gaps.png"
    plot.parent.mkdir(exist_ok=True)
    write_text(plot.with_name("readings.csv"), monitors.to_csv(index=False, float_format="%.6g"))
    archive(folder, plot.with_name("cells.zip"))
    if plot_gaps(monitors, plot):
        text += f"\n\n![gap to the peak, by rule and method]({folder.name}/{plot.name})"
    write_text(document, replaced(document.read_text(encoding="utf-8"), folder.name, text))


def main() -> None:
    """Print the tables of sweeps, or write them into a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="sweeps' folders")
    parser.add_argument("--into", type=Path, help="a Markdown file with marks; by default the tables are printed")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if arguments.into is None:
            sys.stdout.write(f"{section(folder)}\n\n")
        else:
            publish(folder, arguments.into)


if __name__ == "__main__":
    main()
