from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, wilcoxon

from dip_stages.cells.identity import AXES
from dip_stages.report.course_claims import verdicts
from dip_stages.report.paired_effects import effect_of, effects, pairs_of

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURES = ("rocket", "coffee", "astronaut")
KIND = {
    "method": "staged", "protocol": "renoised", "arch": "unet", "beta_max": 0.01, "noise": "gaussian",
    "scheduler": "linear", "loss": "mse", "budget": "saturating", "input": "previous_output", "average": "exponential",
    "stopping": "none", "members": 1,
}  # fmt: skip
BASELINE = {
    "method": "baseline", "protocol": None, "scheduler": None, "budget": None, "input": "fixed_noise",
}  # fmt: skip


def cells(
    *kinds: dict[str, Any],
    psnr: Callable[[dict[str, Any]], float],
    pictures: tuple[str, ...] = PICTURES,
    seeds: int = 2,
) -> pd.DataFrame:
    """Return a frame of every kind of cell on every picture with every seed."""
    rows = []
    for kind, picture, seed in itertools.product(kinds, pictures, range(seeds)):
        row = KIND | kind | {"picture": picture, "seed": seed, "noise_seed": 0}
        value = psnr(row)
        figures = {"output_psnr": value, "output_ssim": value / 40, "output_peak_psnr": value + row.get("gap", 0.0)}
        time = {"seconds_per_iteration": row.get("time", 0.1)}
        rows.append({**{axis: row[axis] for axis in AXES}, **figures, **time, "planned": True, "status": "done"})
    return pd.DataFrame(rows)


def level(row: dict[str, Any], **gains: float) -> float:
    """Return a PSNR that differs between pictures and seeds, and by the gains of the values that a cell has."""
    base = 25 + 2 * PICTURES.index(row["picture"]) + 0.1 * row["seed"]
    return float(base + sum(gains.get(row[axis], 0.0) for axis in ("method", "scheduler", "loss")))


def verdict(frame: pd.DataFrame, claim: str) -> list[str]:
    table = verdicts(frame)
    return table[table.claim == claim].verdict.tolist()


def test_the_interval_is_scipys_percentile_bootstrap_where_each_picture_has_one_pair() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, 12)
    effect = effect_of(differences.tolist(), [f"picture {number}" for number in range(12)])
    assert effect is not None
    theirs = bootstrap((differences,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert (effect.low, effect.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert effect.p == pytest.approx(wilcoxon(differences).pvalue)
    assert effect.mean == pytest.approx(differences.mean())
    assert (effect.pairs, effect.pictures) == (12, 12)


def test_pairs_of_one_picture_do_not_make_it_surer() -> None:
    names = ["a", "b", "c", "d"]
    once = effect_of([0.0, 1.0, 2.0, 3.0], names)
    often = effect_of([0.0, 1.0, 2.0, 3.0] * 10, names * 10)
    assert once is not None
    assert often is not None
    assert (often.low, often.high) == (once.low, once.high)


def test_of_one_picture_seeds_are_drawn_and_pairs_where_these_are_one_too() -> None:
    differences, seeds = [0.0, 1.0, 2.0, 3.0] * 5, [0, 1, 2, 3] * 5
    by_seed = effect_of(differences, ["a"] * 20, seeds)
    by_picture = effect_of(differences, [str(seed) for seed in seeds])
    by_pair = effect_of(differences, ["a"] * 20, [0] * 20)
    assert by_seed is not None
    assert by_picture is not None
    assert by_pair is not None
    assert (by_seed.low, by_seed.high) == (by_picture.low, by_picture.high)
    assert by_pair.high - by_pair.low < by_seed.high - by_seed.low


def test_no_pair_has_no_effect_and_equal_pairs_have_none_to_be_sure_of() -> None:
    assert effect_of([], []) is None
    effect = effect_of([0.0] * 8, list("abcdefgh"))
    assert effect is not None
    assert (effect.mean, effect.low, effect.high, effect.p) == (0, 0, 0, 1)


def test_pairs_share_all_but_what_differs_and_holes_are_left_out() -> None:
    frame = cells({}, {"scheduler": "scaled_linear"}, psnr=lambda row: level(row, scaled_linear=0.5))
    frame.loc[0, "status"] = "failed"
    frame.loc[1, "planned"] = False
    on = [axis for axis in AXES if axis != "scheduler"]
    paired = pairs_of(frame, frame.scheduler == "scaled_linear", frame.scheduler == "linear", on, "output_psnr")
    assert paired.difference.tolist() == pytest.approx([0.5] * 4)
    assert sorted(set(paired.picture)) == ["astronaut", "coffee"]


def test_what_could_be_either_of_two_cells_is_no_pair() -> None:
    frame = cells({}, {"scheduler": "scaled_linear"}, psnr=level)
    twice = pd.concat([frame, frame[frame.scheduler == "linear"]], ignore_index=True)
    on = [axis for axis in AXES if axis != "scheduler"]
    assert pairs_of(twice, twice.scheduler == "scaled_linear", twice.scheduler == "linear", on, "output_psnr").empty


def test_an_axis_has_a_row_a_step_by_protocol() -> None:
    kinds = [{"scheduler": s, "loss": x} for s in ("linear", "scaled_linear") for x in ("mse", "perceptual (random)")]
    gains = {"scaled_linear": 0.5, "perceptual (random)": -2.0}
    table = effects(cells(BASELINE, *kinds, psnr=lambda row: level(row, **gains)))
    assert table[["protocol", "axis", "from", "to", "pairs"]].to_numpy().tolist() == [
        ["renoised", "scheduler", "linear", "scaled_linear", 12],
        ["renoised", "loss", "mse", "perceptual (random)", 12],
    ]
    assert table["PSNR vs from"].tolist() == pytest.approx([0.5, -2.0])
    assert table["SSIM vs from"].tolist() == pytest.approx([0.5 / 40, -2 / 40])
    assert table.interval.tolist() == ["+0.50 to +0.50", "-2.00 to -2.00"]


@pytest.mark.parametrize(("gain", "said"), [(0.5, "holds"), (-0.5, "fails")])
def test_a_claim_holds_or_fails_by_its_pairs(gain: float, said: str) -> None:
    frame = cells(BASELINE, {}, {"scheduler": "scaled_linear"}, psnr=lambda row: level(row, staged=gain))
    assert verdict(frame, "C1") == [said]
    frame = cells({}, {"scheduler": "scaled_linear"}, psnr=lambda row: level(row, scaled_linear=gain))
    assert verdict(frame, "C3") == [said]
    frame = cells({}, {"loss": "perceptual (random)"}, psnr=lambda row: level(row, **{"perceptual (random)": gain}))
    assert verdict(frame, "C2") == [said, "untested"]
    frame = cells({}, {"arch": "dncnn"}, psnr=lambda row: level(row) + gain * (row["arch"] == "unet"))
    assert verdict(frame, "C5") == [said, "untested"]
    frame = cells({}, {"beta_max": 0.02}, psnr=lambda row: level(row) - gain * (row["beta_max"] == 0.02))
    assert verdict(frame, "C4") == [said]
    frame = cells({}, {"budget": "decaying"}, psnr=lambda row: level(row) + gain * (row["budget"] == "saturating"))
    assert verdict(frame, "budget") == [said]


def test_an_effect_that_differs_in_sign_between_pictures_is_undecided() -> None:
    frame = cells(BASELINE, {}, psnr=lambda row: level(row, staged=PICTURES.index(row["picture"]) - 1.0))
    assert verdict(frame, "C1") == ["undecided"]


@pytest.mark.parametrize(("sure", "unsure"), [("output_psnr", "output_ssim"), ("output_ssim", "output_psnr")])
def test_a_claim_that_one_metric_leaves_open_says_which(sure: str, unsure: str) -> None:
    frame = cells(BASELINE, {}, psnr=lambda row: level(row, staged=1.0))
    differing = cells(BASELINE, {}, psnr=lambda row: level(row, staged=PICTURES.index(row["picture"]) - 1.0))
    table = verdicts(frame.assign(**{unsure: differing[unsure]})).set_index("claim")
    name = {"output_psnr": "PSNR", "output_ssim": "SSIM"}
    assert table.loc["C1", "verdict"] == f"undecided: in {name[unsure]}"
    shown = {
        "output_psnr": ("+1.00 to +1.00 dB", "-0.025 to +0.025"),
        "output_ssim": ("-1.00 to +1.00 dB", "+0.025 to +0.025"),
    }
    assert tuple(table.loc["C1", ["interval", "SSIM interval"]]) == shown[sure]


def test_what_a_sweep_cannot_conclude_is_said() -> None:
    one_picture = cells(BASELINE, {}, psnr=lambda row: level(row, staged=1.0), pictures=("rocket",), seeds=9)
    assert verdict(one_picture, "C1") == ["undecided: one picture"]
    one_seed = cells(BASELINE, {}, psnr=lambda row: level(row, staged=1.0), seeds=1)
    assert verdict(one_seed, "C1") == ["undecided: 3 pairs"]
    assert verdict(one_seed, "C3") == ["untested"]


def test_cells_that_stopped_early_count_for_no_claim() -> None:
    assert verdicts(cells(BASELINE, {}, psnr=level).assign(stopping="discrepancy")).empty


@pytest.mark.parametrize(("times", "said"), [(0.9, "holds"), (1.05, "holds"), (1.3, "fails")])
def test_a_tenth_more_time_is_not_notable(times: float, said: str) -> None:
    table = verdicts(cells(BASELINE, {"time": 0.1 * times}, psnr=level)).set_index("claim")
    assert table.loc["C6", "verdict"] == said
    assert table.loc["C6", "effect"] == pytest.approx(times)


@pytest.mark.parametrize(("gap", "said"), [(0.02, "holds"), (0.4, "fails")])
def test_the_budget_leaves_the_output_at_its_best_or_not(gap: float, said: str) -> None:
    table = verdicts(cells({"gap": gap}, psnr=level)).set_index("claim")
    assert table.loc["C7", "verdict"] == said
    assert table.loc["C7", "effect"] == pytest.approx(gap)


def test_each_protocol_has_its_verdicts_and_says_whether_it_sees_the_clean_picture() -> None:
    frame = cells(BASELINE, {}, {"protocol": "clean"}, psnr=lambda row: level(row) + 3 * (row["protocol"] == "clean"))
    table = verdicts(frame)
    first = table[table.claim == "C1"].set_index("protocol")
    assert first["sees clean"].to_dict() == {"renoised": False, "clean": True}
    assert first.verdict.to_dict() == {"renoised": "undecided", "clean": "holds"}
