"""The files that a cell leaves beside its record: images, curves and their plot."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dip_stages.dip.callbacks import CURVE_COLUMNS
from dip_stages.dip.observation import to_array
from dip_stages.images.reading import write_png
from dip_stages.plotting import plot_curve
from dip_stages.store.hashing import file_sha256
from dip_stages.store.records import CURVES, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from dip_stages.cells.record import Run

__all__ = ["listed", "write_images"]


def write_images(run: Run, images: dict[str, Tensor]) -> None:
    """Write the clean, the observed and further images; of fits also the curves of all members, and their plot.

    Args:
        run: A computation whose observation is made.
        images: By file name without ``.png``; each ``(1, C, H, W)`` in [0, 1].
    """
    assert run.observation is not None  # noqa: S101
    observation = {"clean": run.observation.clean, "observed": run.observation.observed}
    for name, image in {**observation, **images}.items():
        with listed(run, f"{name}.png") as path:
            write_png(path, to_array(image))
    if run.fits is None:
        return
    rows, members = run.fits.rows, run.fits.members
    with listed(run, CURVES) as path:
        write_csv(path, CURVE_COLUMNS, rows)
    # The curve of an ensemble shows several fits, each of which stopped elsewhere.
    stopping = members[0].stopping if len(members) == 1 else None
    with listed(run, "curve.png") as path:
        plot_curve(path, run.cell.folder, rows, run.fits.stages, stopping)


@contextmanager
def listed(run: Run, name: str) -> Iterator[Path]:
    """Yield the path of a file that is to be written, and note its checksum for the record."""
    run.attempt.check()
    path = run.folder / name
    yield path
    run.files[name] = file_sha256(path)
