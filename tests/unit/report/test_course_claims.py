from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.report.course_claims import verdicts
from tests.reporting import BASELINE, IMAGES, PERCEPTUAL, cells, level

if TYPE_CHECKING:
    import pandas as pd


def verdict(frame: pd.DataFrame, claim: str) -> list[str]:
    table = verdicts(frame)
    return table[table.claim == claim].verdict.tolist()


@pytest.mark.parametrize(("gain", "expected"), [(0.5, "holds"), (-0.5, "fails")])
def test_a_claim_holds_or_fails_by_its_pairs(gain: float, expected: str) -> None:
    frame = cells(BASELINE, {}, {"scheduler": "scaled_linear"}, psnr=lambda row: level(row, staged=gain))
    assert verdict(frame, "C1") == [expected]
    frame = cells({}, {"scheduler": "scaled_linear"}, psnr=lambda row: level(row, scaled_linear=gain))
    assert verdict(frame, "C3") == [expected]
    frame = cells({}, PERCEPTUAL, psnr=lambda row: level(row, perceptual=gain))
    assert verdict(frame, "C2") == [expected, "untested"]
    frame = cells({}, PERCEPTUAL | {"features": "pretrained"}, psnr=lambda row: level(row, perceptual=gain))
    assert verdict(frame, "C2") == ["untested", expected]
    frame = cells({}, PERCEPTUAL | {"loss_reference": "clean"}, psnr=lambda row: level(row, perceptual=gain))
    assert verdict(frame, "C2") == ["untested", "untested"]
    frame = cells({}, {"arch": "dncnn"}, psnr=lambda row: level(row) + gain * (row["arch"] == "unet"))
    assert verdict(frame, "C5") == [expected, "untested"]
    frame = cells({}, {"beta_max": 0.02}, psnr=lambda row: level(row) - gain * (row["beta_max"] == 0.02))
    assert verdict(frame, "C4") == [expected]
    frame = cells({}, {"budget": "decaying"}, psnr=lambda row: level(row) + gain * (row["budget"] == "saturating"))
    assert verdict(frame, "budget") == [expected]


def test_an_effect_that_differs_in_sign_between_images_is_undecided() -> None:
    frame = cells(BASELINE, {}, psnr=lambda row: level(row, staged=IMAGES.index(row["image"]) - 1.0))
    assert verdict(frame, "C1") == ["undecided"]


@pytest.mark.parametrize(("decided", "undecided"), [("output_psnr", "output_ssim"), ("output_ssim", "output_psnr")])
def test_a_claim_that_is_undecided_in_one_metric_names_it(decided: str, undecided: str) -> None:
    frame = cells(BASELINE, {}, psnr=lambda row: level(row, staged=1.0))
    differing = cells(BASELINE, {}, psnr=lambda row: level(row, staged=IMAGES.index(row["image"]) - 1.0))
    table = verdicts(frame.assign(**{undecided: differing[undecided]})).set_index("claim")
    name = {"output_psnr": "PSNR", "output_ssim": "SSIM"}
    assert table.loc["C1", "verdict"] == f"undecided: in {name[undecided]}"
    shown = {
        "output_psnr": ("+1.00 to +1.00 dB", "-0.025 to +0.025"),
        "output_ssim": ("-1.00 to +1.00 dB", "+0.025 to +0.025"),
    }
    assert tuple(table.loc["C1", ["interval", "SSIM interval"]]) == shown[decided]


def test_a_sweep_without_enough_pairs_or_images_decides_nothing() -> None:
    one_image = cells(BASELINE, {}, psnr=lambda row: level(row, staged=1.0), images=("rocket",), seeds=9)
    assert verdict(one_image, "C1") == ["undecided: one image"]
    one_seed = cells(BASELINE, {}, psnr=lambda row: level(row, staged=1.0), seeds=1)
    assert verdict(one_seed, "C1") == ["undecided: 3 pairs"]
    assert verdict(one_seed, "C3") == ["untested"]


def test_cells_that_stopped_early_count_for_no_claim() -> None:
    assert verdicts(cells(BASELINE, {}, psnr=level).assign(stopping="discrepancy")).empty


@pytest.mark.parametrize(("times", "expected"), [(0.9, "holds"), (1.05, "holds"), (1.3, "fails")])
def test_a_tenth_more_time_is_not_notable(times: float, expected: str) -> None:
    table = verdicts(cells(BASELINE, {"time": 0.1 * times}, psnr=level)).set_index("claim")
    assert table.loc["C6", "verdict"] == expected
    assert table.loc["C6", "effect"] == pytest.approx(times)


@pytest.mark.parametrize(("gap", "expected"), [(0.02, "holds"), (0.4, "fails")])
def test_the_budget_leaves_the_output_at_its_best_or_not(gap: float, expected: str) -> None:
    table = verdicts(cells({"gap": gap}, psnr=level)).set_index("claim")
    assert table.loc["C7", "verdict"] == expected
    assert table.loc["C7", "effect"] == pytest.approx(gap)


def test_each_protocol_has_its_verdicts_and_whether_it_sees_the_clean_image() -> None:
    frame = cells(BASELINE, {}, {"protocol": "clean"}, psnr=lambda row: level(row) + 3 * (row["protocol"] == "clean"))
    table = verdicts(frame)
    first = table[table.claim == "C1"].set_index("protocol")
    assert first["sees clean"].to_dict() == {"renoised": False, "clean": True}
    assert first.verdict.to_dict() == {"renoised": "undecided", "clean": "holds"}
