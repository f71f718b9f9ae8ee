"""The sections of a report: its tables, each with a title and notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dip_stages.report.course_claims import verdicts
from dip_stages.report.ensembles import ensemble_table
from dip_stages.report.stopping import stopping_table
from dip_stages.report.tables import comparison, protocols, to_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["Section", "sections"]

_PROTOCOLS = {
    "clean": "SEES THE CLEAN IMAGE: the course report's own procedure, a reproduction and no denoiser",
    "renoised": "blind: stage targets are the observed image plus extra noise",
    "observed": "blind: every stage is fitted to the observed image",
    "recorrupted": "blind: noise is added to the input and subtracted from the target, drawn at each iteration",
}


@dataclass(frozen=True)
class Section:
    """A table of a report.

    Attributes:
        name: Short, for links to it.
        file: The table's files, without their endings.
        table: As it is shown.
        about: What the name does not explain; may be empty.
        notes: Below the table; may be empty.
        sees_clean: Whether its cells were guided by the clean image.
    """

    name: str
    file: str
    table: pd.DataFrame
    about: str = ""
    notes: str = ""
    sees_clean: bool = False

    @property
    def title(self) -> str:
        """The name and what it is about."""
        return f"{self.name} – {self.about}" if self.about else self.name

    def __str__(self) -> str:
        text = f"## {self.title}\n\n{to_markdown(self.table)}\n"
        return f"{text}\n{self.notes}" if self.notes else text


def sections(
    frame: pd.DataFrame, steps: pd.DataFrame, monitors: pd.DataFrame, ensembles: pd.DataFrame
) -> list[Section]:
    """Return the sections of a sweep's report that have something to show.

    Args:
        frame: From :func:`dip_stages.report.load`.
        steps: From :func:`dip_stages.report.effects`.
        monitors: From :func:`dip_stages.report.load_readings`; may be empty.
        ensembles: From :func:`dip_stages.report.ensembles.load_ensembles`; may be empty.
    """
    return [*_comparisons(frame), *_stopping(monitors), *_ensembles(ensembles), *_effects(steps), *_verdicts(frame)]


def _comparisons(frame: pd.DataFrame) -> Iterator[Section]:
    for protocol in protocols(frame):
        table = comparison(frame, protocol)
        if not table.empty:
            name = "without stages" if protocol == "none" else f"protocol {protocol}"
            about = _PROTOCOLS.get(protocol, "")
            yield Section(name, f"table_{protocol}", table, about, sees_clean=protocol == "clean")


def _stopping(monitors: pd.DataFrame) -> Iterator[Section]:
    """Yield what monitors chose, where there were oracles among them."""
    if "average_gap" in monitors:
        table = stopping_table(monitors)
        marked = table.assign(monitor=table.monitor + table["needs clean"].map({True: " *", False: ""}))
        shown = marked.drop(columns="needs clean")
        yield Section("Where each rule would have stopped", "stopping", shown, notes=_STOPPING_NOTES)


_STOPPING_NOTES = """\
Monitors of the same fits, and the iteration that each would have chosen. gap: PSNR of the average at the best
iteration of the same fit, found with the clean image, less that at the chosen iteration, in dB; mean and worst over
images, noise levels and seeds. PSNR and SSIM are those of the average at the chosen iteration. vs baseline: the
difference to the plain baseline under the rule of the same name (auto is each method's own), on the same observation
with the same seed. spent: iterations until the rule had chosen.
Rules marked * see the clean image: nobody who denoises has it.
"""


def _ensembles(ensembles: pd.DataFrame) -> Iterator[Section]:
    if not ensembles.empty:
        yield Section("Ensembles", "ensemble_gains", ensemble_table(ensembles), notes=_ENSEMBLE_NOTES)


_ENSEMBLE_NOTES = """\
The mean of independent fits of the same observation, beside the mean quality of its members; gain in dB.
"""


def _effects(steps: pd.DataFrame) -> Iterator[Section]:
    if not steps.empty:
        shown = steps.drop(columns=["low", "high"])
        yield Section("What each axis does", "effects", shown, notes=_EFFECTS_NOTES)


_EFFECTS_NOTES = """\
Mean difference of the raw output's PSNR (dB) and SSIM after the last iteration, over pairs of cells that differ in that
axis alone; a 95% bootstrap interval over images, and p of Wilcoxon's signed-rank test.
"""


def _verdicts(frame: pd.DataFrame) -> Iterator[Section]:
    """Yield the verdicts on those of the course report's claims that are tested, and the names of the others."""
    table = verdicts(frame)
    if table.empty or (table.verdict == "untested").all():
        return
    tested = table[table.verdict != "untested"]
    every = dict.fromkeys(zip(table.claim, table.text, strict=True))
    rest = ", ".join(f"{claim} ({text})" for claim, text in every if text not in set(tested.text))
    untested = f"Untested here: {rest}.\n" if rest else ""
    yield Section("The course report's claims", "claims", tested, notes=untested + _VERDICTS_NOTES)


_VERDICTS_NOTES = """\
Only of cells that ran all their iterations. effect: mean paired difference in PSNR, or ratio of the times of an
iteration (C6), or dB from the best iteration (C7), with a 95% bootstrap interval over images and p of Wilcoxon's
signed-rank test. Fewer than 6 pairs, or one image, decide nothing. What sees the clean image is a reproduction and no
denoiser.
"""
