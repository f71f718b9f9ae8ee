"""The files that a cell leaves beside its record: images, curves and their plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.dip.callbacks import CURVE_COLUMNS
from dip_stages.dip.observation import to_array
from dip_stages.images.reading import write_png
from dip_stages.plotting import plot_curve
from dip_stages.store.records import CURVES, write_csv

if TYPE_CHECKING:
    from torch import Tensor

    from dip_stages.cells.record import Run

__all__ = ["write_images"]


def write_images(run: Run, images: dict[str, Tensor]) -> None:
    """Write the clean, the observed and further images; of fits also the curves of all members, and their plot.

    Args:
        run: A computation whose observation is made.
        images: By file name without ``.png``; each ``(1, C, H, W)`` in [0, 1].
    """
    assert run.observation is not None  # noqa: S101
    observation = {"clean": run.observation.clean, "observed": run.observation.observed}
    for name, image in {**observation, **images}.items():
        write_png(run.folder / f"{name}.png", to_array(image))
    if run.fits is None:
        return
    rows, members = run.fits.rows, run.fits.members
    write_csv(run.folder / CURVES, CURVE_COLUMNS, rows)
    # The curve of an ensemble shows several fits, each of which stopped elsewhere.
    stopping = members[0].stopping if len(members) == 1 else None
    plot_curve(run.folder / "curve.png", run.cell.folder, rows, run.fits.stages, stopping)
