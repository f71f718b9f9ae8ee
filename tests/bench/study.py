"""Writes the outcome of ``sweep=stopping_tuning`` and ``sweep=stopping`` into a document: ``make stopping``.

``python -m tests.bench.study outputs/stopping_tuning outputs/stopping --into docs/stopping.md`` replaces what stands
there between ``<!-- NAME -->`` and ``<!-- /NAME -->``, NAME being the sweep's. It puts into ``docs/NAME`` the figure,
the monitors, a row a cell and rule, and an archive of plan, records and curves, from which the sweep goes on once it is
unpacked into ``outputs/NAME``.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.report.ensembles import ensemble_table, load_ensembles
from dip_stages.report.frame import load
from dip_stages.report.stopping import kinds, load_readings, stopping_table
from dip_stages.report.stopping_plots import plot_gaps
from dip_stages.report.tables import to_markdown
from dip_stages.store.files import replacing, write_text
from dip_stages.store.records import CURVES, PLAN, RECORD

if TYPE_CHECKING:
    import pandas as pd

DEFAULT, ESTIMATED = "auto", "auto_estimated"
"""The monitors that stand for the default rule, with sigma known and estimated."""


def targets(monitors: pd.DataFrame, ensembles: pd.DataFrame, check_every: int) -> list[str]:
    """Return what was aimed at beside what came out, a line a kind of cell.

    A fit that is recorrupted knows or estimates sigma by itself, whatever the rule goes by.
    """
    lines = []
    for kind, cells in monitors.groupby(kinds(monitors, but=["protocol.sigma"]), sort=False):
        own = cells.fit_sigma.notna()
        known = cells[(cells.monitor == DEFAULT) & (~own | (cells.fit_sigma == "known"))]
        estimated = cells[(cells.monitor == ESTIMATED) & (~own | (cells.fit_sigma == "estimate"))]
        facts = []
        if len(known):
            gap, worst = known.average_gap.mean(), known.average_gap.max()
            spent, peak = known.spent.mean(), known.peak_iteration.mean()
            facts = [
                (f"mean gap {gap:.2f} dB", gap <= 0.10),
                (f"worst {worst:.2f} dB", worst <= 0.5),
                (f"{spent:.0f} iterations spent, {peak:.0f} at the peak", spent <= peak + check_every),
            ]
        if len(estimated):
            gap = estimated.average_gap.mean()
            facts.append((f"mean gap with sigma estimated {gap:.2f} dB", gap <= 0.25))
        said = "; ".join(f"{text} ({'met' if met else 'missed'})" for text, met in facts)
        if said:
            lines.append(f"- {kind}: {said}.")
    if not ensembles.empty:
        for method, gain in ensembles.groupby("method", sort=False).gain.mean().items():
            lines.append(f"- Ensembles, {method}: {gain:.2f} dB over one run ({'met' if gain >= 0.5 else 'missed'}).")
    return lines


def section(folder: Path) -> str:
    """Return a sweep's tables."""
    frame = load(folder)
    monitors, ensembles = load_readings(folder), load_ensembles(folder)
    if "average_gap" not in monitors:
        sys.exit(f"{folder}: no cell in it has monitors; allowed: a sweep with monitors=all, some of it done")
    counts = ", ".join(f"{count} {state}" for state, count in frame[frame.planned].status.value_counts().items())
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
    """Return a document with what stands between the marks of that name replaced.

    Raises:
        ValueError: If the document has no such marks.
    """
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", flags=re.S)
    if not marks.search(document):
        raise ValueError(f"no <!-- {name} --> … <!-- /{name} --> in the document")
    return marks.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", document)


def archive(folder: Path, path: Path) -> None:
    """Write an archive of a sweep's plan, records and curves; the same bits for the same files."""
    files = [*folder.glob(PLAN), *folder.glob(f"*/{RECORD}"), *folder.glob(f"*/{CURVES}")]
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for file in sorted(files):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # dated 1980
            packed.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="sweeps' folders")
    parser.add_argument("--into", type=Path, help="a Markdown file with marks; by default the tables are printed")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        text = section(folder)
        if arguments.into is None:
            sys.stdout.write(f"{text}\n\n")
        else:
            monitors, figure = load_readings(folder), arguments.into.parent / folder.name / "gaps.png"
            figure.parent.mkdir(exist_ok=True)
            write_text(figure.with_name("readings.csv"), monitors.to_csv(index=False, float_format="%.6g"))
            archive(folder, figure.with_name("cells.zip"))
            if plot_gaps(monitors, figure):
                text += f"\n\n![gap to the peak, by rule and method]({folder.name}/{figure.name})"
            document = arguments.into.read_text(encoding="utf-8")
            write_text(arguments.into, replaced(document, folder.name, text))


if __name__ == "__main__":
    main()
