from __future__ import annotations

import csv
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from dip_stages.cells import build, runner
from dip_stages.cells.runner import run_cell
from dip_stages.dip.module import DIPModule
from dip_stages.errors import LeaseError
from dip_stages.store.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell

SMALL = ("trainer.iterations=24", "runtime.threads=1")
TWO_CHUNKS = ("method=baseline", "trainer.iterations=8", "trainer.chunk=4", "runtime.checkpoint_every=0")


@pytest.mark.usefixtures("drawn")
def test_a_cell_leaves_record_curves_images_and_plot(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("loss=perceptual", "scheduler.stages=3", "budget=constant")
    record = run_cell(cell, tmp_path / "cell", threads=1)
    assert read_record(tmp_path / "cell") == record
    assert {p.name for p in (tmp_path / "cell").iterdir()} == {
        "record.json", "curves.csv", "curve.png", "clean.png", "observed.png", "output.png", "average.png",
        "result.png", "logs",
    }  # fmt: skip
    for name in ("clean", "observed", "output", "average"):
        with Image.open(tmp_path / "cell" / f"{name}.png") as image:
            assert image.size == (32, 32)
    with Image.open(tmp_path / "cell" / "curve.png") as figure:
        assert figure.width > 1000
    assert (tmp_path / "cell" / "logs" / "metrics.csv").is_file()
    assert record.status == "done"
    assert record.cell["id"] == cell.id
    assert record.settings == cell.settings
    assert record.config["data"]["name"] == "rocket"
    assert not record.sees_clean
    assert record.iterations == {"planned": 40, "run": 40, "rollbacks": 0, "resumed_at": []}
    assert record.computed["threads"] == 1
    assert record.computed["together"] == 1
    assert record.computed["versions"]["torch"] == torch.__version__
    assert [stage["budget"] for stage in record.stages] == [14, 13, 13]
    assert record.observation["beta_max"] == 0.01
    assert record.observation["sigma"] == pytest.approx(0.1)


def test_end_and_peak_are_those_of_the_curve_and_the_peak_says_that_it_needs_the_clean_image(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    record = run_cell(make_cell("method=baseline", "trainer.chunk=4"), tmp_path, threads=1)
    with (tmp_path / "curves.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert record.metrics is not None
    for image, metrics in (("output", record.metrics["output"]), ("average", record.metrics["average"])):
        assert metrics is not None
        end, peak = metrics["end"], metrics["peak"]
        assert peak is not None
        assert end["psnr"] == rows[-1][f"{image}_psnr"]
        assert peak["psnr"] == max(row[f"{image}_psnr"] for row in rows)
        assert peak["needs_clean"] is True
        assert "needs_clean" not in end


def test_one_thread_gives_the_same_numbers_again(make_cell: MakeCell, tmp_path: Path) -> None:
    records = [run_cell(make_cell(), tmp_path / str(i), threads=1) for i in range(2)]
    assert records[0].metrics == records[1].metrics
    assert records[0].stages == records[1].stages


def test_methods_of_a_pair_see_the_same_observation(make_cell: MakeCell, tmp_path: Path) -> None:
    for name, override in [("a", "method=baseline"), ("b", "protocol=clean"), ("c", "arch=dncnn"), ("d", "seed=7")]:
        run_cell(make_cell(override, "trainer.iterations=2"), tmp_path / name, threads=1)
    images = {(tmp_path / name / "observed.png").read_bytes() for name in "abcd"}
    assert len(images) == 1
    run_cell(make_cell("noise_seed=1", "trainer.iterations=2"), tmp_path / "e", threads=1)
    assert (tmp_path / "e" / "observed.png").read_bytes() not in images


def test_only_the_clean_protocol_is_marked_as_seeing_the_clean_image(make_cell: MakeCell, tmp_path: Path) -> None:
    sees = {
        protocol: run_cell(
            make_cell(f"protocol={protocol}", "trainer.iterations=2"), tmp_path / protocol, threads=1
        ).sees_clean
        for protocol in ("clean", "renoised", "observed")
    }
    assert sees == {"clean": True, "renoised": False, "observed": False}


def test_a_fit_that_diverges_is_recorded_with_its_last_good_state(make_cell: MakeCell, tmp_path: Path) -> None:
    record = run_cell(make_cell("method=baseline", "method.input_scale=1e39"), tmp_path, threads=1)
    assert record.status == read_record(tmp_path).status == "failed"
    assert record.error is not None
    assert record.error["type"] == "DivergenceError"
    assert record.error["last_good"] is not None
    assert record.error["last_good"]["iteration"] == 0
    state = torch.load(tmp_path / record.error["last_good"]["weights"], weights_only=True)
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_an_unforeseen_error_is_recorded_with_its_traceback(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(build, "build_plan", broken)
    record = run_cell(make_cell(), tmp_path, threads=1)
    assert record.error is not None
    assert (record.status, record.error["message"]) == ("failed", "the disk is on fire")
    assert "in broken" in str(record.error["traceback"])
    assert record.metrics is None


def test_a_record_that_cannot_be_written_is_an_error_of_the_caller(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "write_record", full)
    with pytest.raises(OSError, match="No space left"):
        run_cell(make_cell("trainer.iterations=4"), tmp_path, threads=1)
    assert not (tmp_path / "record.json").exists()


def test_grey_images_of_odd_sizes_are_fitted_too(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("data.name=camera", "data.size=45", "data.fit=inside", "trainer.iterations=10")
    record = run_cell(cell, tmp_path, threads=1)
    assert (record.observation["channels"], record.observation["height"], record.observation["width"]) == (1, 45, 45)
    assert record.status == "done"


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path), dtype=np.float64) / 255


def test_an_ensemble_is_the_mean_of_fits_with_seeds_of_their_own(make_cell: MakeCell, tmp_path: Path) -> None:
    few = ("method=baseline", "trainer.iterations=8", "trainer.chunk=4", "stopping=none")
    alone = run_cell(make_cell(*few), tmp_path / "alone", threads=1)
    three = run_cell(make_cell(*few, "ensemble.members=3"), tmp_path / "three", threads=1)
    first, *others = three.members
    assert (first["metrics"], first["stopping"]) == (alone.metrics, alone.stopping)
    assert len({member["seed"] for member in three.members}) == 3
    results = []
    for number, member in enumerate(others, 1):
        found = run_cell(make_cell(*few, f"seed={member['seed']}"), tmp_path / str(number), threads=1)
        assert found.metrics == member["metrics"]
        results.append(pixels(tmp_path / str(number) / "result.png"))
    mean = np.mean([pixels(tmp_path / "alone" / "result.png"), *results], axis=0)
    np.testing.assert_allclose(pixels(tmp_path / "three" / "result.png"), mean, atol=1.01 / 255)
    clean = pixels(tmp_path / "three" / "clean.png")
    assert three.metrics is not None
    expected = -10 * np.log10(((mean - clean) ** 2).mean())
    assert three.metrics["result"]["psnr"] == pytest.approx(expected, abs=0.05)
    errors = [10 ** (-member["metrics"]["result"]["psnr"] / 10) for member in three.members]
    assert 10 ** (-three.metrics["result"]["psnr"] / 10) < np.mean(errors)
    assert three.iterations == {"planned": 24, "run": 24, "rollbacks": 0, "resumed_at": []}
    rows = (tmp_path / "three" / "curves.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [[m, i] for m in "012" for i in ("4", "8")]
    with (tmp_path / "three" / "logs" / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "8", "12", "16", "20", "24"]


def test_a_rule_ends_the_cell_and_what_it_chose_is_the_result(make_cell: MakeCell, tmp_path: Path) -> None:
    settings = ("method=baseline", "trainer.chunk=10", "trainer.lr=0.05")
    record = run_cell(make_cell(*settings, "stopping.tau=6", "stopping.lag=0"), tmp_path / "stopped", threads=1)
    assert record.stopping is not None
    assert record.metrics is not None
    stop = record.stopping["iteration"]
    assert stop is not None
    assert record.stopping["decided"]
    assert 1 < stop < 40
    assert (record.iterations["run"], record.iterations["planned"]) == (stop, 40)
    assert record.stopping["sigma"] == {"source": "known", "value": pytest.approx(0.1)}
    same = run_cell(make_cell(*settings, f"trainer.iterations={stop}", "stopping=none"), tmp_path / "same", threads=1)
    assert same.metrics is not None
    assert same.metrics["average"] is not None
    assert same.metrics["average"]["end"].items() <= record.metrics["result"].items()
    assert (tmp_path / "stopped" / "result.png").read_bytes() == (tmp_path / "same" / "average.png").read_bytes()
    assert record.metrics["result"]["needs_clean"] is False
    window = ("average=window", "average.window=9")  # whose outputs are 4 iterations old on average
    later = run_cell(make_cell(*settings, *window, "stopping.tau=6"), tmp_path / "later", threads=1)
    assert later.stopping is not None
    assert later.stopping["iteration"] == later.iterations["run"] == stop + 4
    oracle = run_cell(make_cell("method=baseline", "stopping=oracle"), tmp_path / "oracle", threads=1)
    assert oracle.sees_clean
    assert oracle.stopping is not None
    assert oracle.stopping["needs_clean"] is True


@pytest.mark.parametrize("together", [1, 2])
def test_a_gpu_whose_memory_is_full_loses_a_cell_and_fails_none(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DIPModule, "_iterate", full)
    record = run_cell(make_cell(*SMALL), tmp_path, threads=1, together=together)
    assert record.status == "failed"
    assert record.lost


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "dip_stages.log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_every_write_of_a_cell_is_checked_beforehand(make_cell: MakeCell, tmp_path: Path) -> None:
    """So a process that was frozen, and has lost the cell, spoils one file at most: the one that it was writing."""
    seen: list[dict[str, bytes]] = []
    run_cell(make_cell(*TWO_CHUNKS), tmp_path, threads=1, check=lambda: seen.append(contents(tmp_path)))
    changes = [
        {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        for before, after in itertools.pairwise([*seen, contents(tmp_path)])
    ]
    assert not seen[0]
    written = [{name.replace("hparams.yaml", "metrics.csv") for name in names} for names in changes if names]
    assert all(len(names) == 1 or names == {"record.json", "checkpoint.pt"} for names in written), written
    assert {"logs/metrics.csv"} in written


@pytest.mark.parametrize("settings", [(), ("ensemble.members=2",)])
def test_nothing_is_written_once_the_cell_is_taken_over(
    make_cell: MakeCell, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    cell, checks = make_cell(*TWO_CHUNKS, *settings), 0

    def count() -> None:
        nonlocal checks
        checks += 1

    run_cell(cell, tmp_path / "whole", threads=1, check=count)
    for last in range(0, checks, 1 if not settings else 5):
        folder = tmp_path / str(last)
        left, found = last, dict[str, bytes]()

        def lost(folder: Path = folder) -> None:
            nonlocal left, found
            if left == 0:
                found = found or contents(folder)
                raise LeaseError("taken over", setting=folder.name)
            left -= 1

        with pytest.raises(LeaseError):
            run_cell(cell, folder, threads=1, check=lost)
        assert contents(folder) == found
