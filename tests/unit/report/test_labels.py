from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages import report
from dip_stages.cells.identity import AXES, QUALIFIERS
from dip_stages.report.labels import axis_labels, labelled
from tests.reporting import PERCEPTUAL, Sweep, axes

if TYPE_CHECKING:
    from tests.conftest import MakeCell


@pytest.mark.parametrize(
    ("overrides", "axis", "label"),
    [
        (("method=baseline",), "method", "baseline"),
        (("method=tv",), "method", "tv (competitor)"),
        (("method=tv", "method.sigma=estimate"), "method", "tv (competitor, sigma estimated)"),
        (("method=ddpm",), "method", "ddpm (trained competitor)"),
        (("method=ddpm_mean",), "method", "ddpm mean (trained competitor)"),
        (("method=tv",), "loss", None),
        (("loss=mse",), "loss", "mse"),
        (("loss=perceptual", "loss.features=random"), "loss", "perceptual (random)"),
        (
            ("loss=perceptual", "loss.features=random", "loss.reference=clean", "protocol=clean"),
            "loss",
            "perceptual (random, to clean)",
        ),
        (("stopping=discrepancy", "stopping.sigma=known"), "stopping", "discrepancy"),
        (("stopping=discrepancy", "stopping.sigma=estimate"), "stopping", "discrepancy (sigma estimated)"),
    ],
)
def test_labels_are_made_of_a_cells_fields(
    make_cell: MakeCell, overrides: tuple[str, ...], axis: str, label: str | None
) -> None:
    labels = axis_labels(make_cell(*overrides).axes)
    assert labels[axis] == label
    assert tuple(labels) == AXES


def test_a_frame_is_labelled_row_by_row_and_holes_stay_holes(sweep: Sweep) -> None:
    competitor = {"kind": "competitor", "sigma_source": "known", "protocol": None, "loss": None, "stopping": None}
    sweep.add(axes("staged", **PERCEPTUAL, stopping="sure", sigma_source="estimate"), 25.0)
    sweep.add(axes("tv", **competitor), 26.0)
    (sweep.add(axes("staged"), 27.0, planned=False) / "record.json").write_text("{")
    frame = report.load(sweep.root)
    shown = labelled(frame)
    assert not set(QUALIFIERS) & set(shown)
    assert shown[["method", "loss", "stopping"]].fillna("").to_numpy().tolist() == [
        ["staged", "perceptual (random)", "sure (sigma estimated)"],
        ["tv (competitor)", "", ""],
        ["", "", ""],
    ]
    assert frame.method.tolist()[:2] == ["staged", "tv"]
