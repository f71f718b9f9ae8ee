from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.cells.build import build_module, build_observation, build_plan
from dip_stages.dip.callbacks import CURVE_COLUMNS, Checkpointer, QualityCurve, Ticker
from dip_stages.dip.metrics import quality
from dip_stages.dip.stages import Chunks

if TYPE_CHECKING:
    from tests.conftest import MakeCell


@pytest.fixture(scope="module")
def fitted(make_cell: MakeCell) -> tuple[QualityCurve, object, list[tuple[float, float]]]:
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    config = make_cell("scheduler.stages=3", "budget=constant", "trainer.chunk=10").config
    observation = build_observation(config)
    module = build_module(config, build_plan(config, observation), observation, accelerator="cpu")
    curve, ticks = QualityCurve(observation.clean), []
    ticker = Ticker(curve, lambda *values: ticks.append(values), every=1e9)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, plugins=[LightningEnvironment()], callbacks=[curve, ticker],
    )  # fmt: skip
    trainer.fit(module, Chunks(module.plan, 10))
    return curve, module, ticks


def test_each_chunk_has_a_row(fitted: tuple[QualityCurve, object, list[tuple[float, float]]]) -> None:
    curve, _, _ = fitted
    assert [row["iteration"] for row in curve.rows] == [10, 14, 20, 27, 30, 40]
    assert [row["stage"] for row in curve.rows] == [0, 0, 1, 1, 2, 2]
    assert all(tuple(row) == CURVE_COLUMNS for row in curve.rows)


def test_the_last_row_is_the_quality_of_the_last_images(
    fitted: tuple[QualityCurve, object, list[tuple[float, float]]],
) -> None:
    curve, module, _ = fitted
    output, average = quality(module.output, curve.clean), quality(module.average, curve.clean)  # type: ignore[attr-defined]
    last = curve.rows[-1]
    assert (last["output_psnr"], last["output_ssim"]) == (output.psnr, output.ssim)
    assert (last["average_psnr"], last["average_ssim"]) == (average.psnr, average.ssim)


def test_each_stage_is_recorded_once_with_its_quality_against_target_and_clean(
    fitted: tuple[QualityCurve, object, list[tuple[float, float]]],
) -> None:
    curve, module, _ = fitted
    assert [(stage["index"], stage["budget"]) for stage in curve.stages] == [(0, 14), (1, 13), (2, 13)]
    betas = [stage["beta"] for stage in curve.stages]
    assert betas == sorted(betas, reverse=True)
    last = curve.stages[-1]
    assert last["target"] == vars(quality(module.output, module.plan.stages[-1].target))  # type: ignore[attr-defined]
    assert last["clean"] == vars(quality(module.output, curve.clean))  # type: ignore[attr-defined]


def test_the_end_is_reported_with_any_number_of_seconds(
    fitted: tuple[QualityCurve, object, list[tuple[float, float]]],
) -> None:
    curve, _, ticks = fitted
    assert ticks[-1] == (curve.rows[-1]["loss"], curve.rows[-1]["output_psnr"])
    assert len(ticks) <= 2


def saved_at(module: object, every: float, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the edges at which a fit of 10 seconds a chunk is saved."""
    clock, saved = [1000.0], []
    monkeypatch.setattr("dip_stages.clock.time.monotonic", lambda: clock[0])
    checkpointer = Checkpointer(lambda: saved.append(module.iteration), every)  # type: ignore[attr-defined]
    clock[0] += 500  # before the fit nothing counts
    checkpointer.on_fit_start(None, module)  # type: ignore[arg-type]
    for iteration in (10, 14, 20, 27, 30, 40):
        clock[0] += 10
        module.iteration = iteration  # type: ignore[attr-defined]
        checkpointer.on_train_batch_end(None, module, None, None, 0)  # type: ignore[arg-type]
    return saved


@pytest.mark.parametrize(
    ("every", "edges"), [(0, [10, 14, 20, 27, 30]), (15, [14, 27]), (30, [20]), (60, []), (1e9, [])]
)
def test_a_checkpoint_is_due_after_its_time_and_never_at_the_end(
    fitted: tuple[QualityCurve, object, list[tuple[float, float]]],
    monkeypatch: pytest.MonkeyPatch,
    every: float,
    edges: list[int],
) -> None:
    assert saved_at(fitted[1], every, monkeypatch) == edges
