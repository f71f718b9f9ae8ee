from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.cells.runner import run_cell
from dip_stages.dip.callbacks import Checkpointer
from dip_stages.dip.metrics import quality
from dip_stages.errors import Interrupted
from dip_stages.store.checkpoints import write_checkpoint
from dip_stages.store.records import CHECKPOINT, read_record
from tests.resuming import FEW, interrupted, resume, saved_in

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from tests.conftest import MakeCell


class EachEdge(Checkpointer):
    """Saves at each edge, for any setting of the cell."""

    def __init__(self, save: Any, every: float) -> None:
        del every
        super().__init__(save, 0)


@pytest.fixture(scope="module")
def cell(make_cell: MakeCell) -> Cell:
    return make_cell(*FEW)


@pytest.fixture(scope="module")
def expected(cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_cell(cell, tmp_path_factory.mktemp("undisturbed"), threads=1).metrics


def test_an_interrupted_cell_leaves_a_checkpoint_and_no_record(cell: Cell, tmp_path: Path) -> None:
    interrupted(cell, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "logs"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_set_aside_and_the_cell_starts_again(
    cell: Cell, expected: Any, tmp_path: Path, share: float
) -> None:
    path = interrupted(cell, tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    record = resume(cell, tmp_path)
    assert record.metrics == expected
    assert record.iterations["resumed_at"] == []
    assert "set aside as checkpoint.pt.broken, the cell starts again" in record.computed["notes"][0]
    assert (tmp_path / "checkpoint.pt.broken").exists()
    assert not path.exists()


@pytest.mark.parametrize("where", [0.1, 0.6, 0.995])
def test_a_flipped_bit_is_noticed(cell: Cell, expected: Any, tmp_path: Path, where: float) -> None:
    path = interrupted(cell, tmp_path)
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)
    (tmp_path / "checkpoint.pt.broken").write_bytes(b"an older one")
    record = resume(cell, tmp_path)
    assert "its checksum is not that of its content" in record.computed["notes"][0]
    assert (record.metrics, record.iterations["resumed_at"]) == (expected, [])
    assert (tmp_path / "checkpoint.pt.broken").read_bytes() == content


def test_no_code_in_a_checkpoint_is_run(cell: Cell, expected: Any, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "owned"),))

    write_checkpoint(tmp_path, {"cell": cell.id, "unfinished": Payload()})  # sealed, as one who knows how would
    record = resume(cell, tmp_path)
    assert "Weights only load failed" in record.computed["notes"][0]
    assert record.metrics == expected
    assert not (tmp_path / "owned").exists()
    (tmp_path / CHECKPOINT).write_bytes(pickle.dumps(Payload()))
    assert resume(cell, tmp_path).metrics == expected
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_other_code_or_of_another_cell_is_not_resumed(
    cell: Cell, expected: Any, tmp_path: Path, make_cell: MakeCell
) -> None:
    interrupted(cell, tmp_path, code="before")
    record = resume(cell, tmp_path, code="after")
    assert record.computed["notes"] == ["checkpoint.pt: made with other code; removed, the cell starts again"]
    assert (record.metrics, record.iterations["resumed_at"]) == (expected, [])
    interrupted(cell, tmp_path)
    record = run_cell(cell, tmp_path, threads=2)
    assert record.computed["notes"] == ["checkpoint.pt: made with other threads; removed, the cell starts again"]
    interrupted(cell, tmp_path)
    other = resume(make_cell("trainer.iterations=16", "trainer.chunk=4", "seed=5"), tmp_path)
    assert f"made with another cell, {cell.id}" in other.computed["notes"][0]


def test_the_checkpoint_of_a_cell_that_is_done_is_kept_on_request(make_cell: MakeCell, tmp_path: Path) -> None:
    every_edge = ("trainer.iterations=8", "trainer.chunk=4", "runtime.checkpoint_every=0")
    resume(make_cell(*every_edge), tmp_path / "a")
    assert not (tmp_path / "a" / CHECKPOINT).exists()
    kept = make_cell(*every_edge, "runtime.keep_checkpoint=true")
    resume(kept, tmp_path / "b")
    assert (tmp_path / "b" / CHECKPOINT).exists()
    assert kept.id == make_cell(*every_edge).id


def test_a_full_disk_costs_the_checkpoint_and_not_the_cell(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    record = resume(make_cell("trainer.iterations=8", "trainer.chunk=4", "runtime.checkpoint_every=0"), tmp_path)
    assert record.status == "done"
    assert record.computed["notes"] == ["no checkpoint could be written: [Errno 28] No space left on device"]
    assert not list(tmp_path.glob("*checkpoint*"))


def test_a_diverged_fit_whose_last_state_cannot_be_left_is_lost(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dip_stages.cells.failure.write_tensors", full)
    record = resume(make_cell("method=baseline", "method.input_scale=1e39"), tmp_path)
    assert record.lost
    assert read_record(tmp_path).error == record.error
    assert record.error is not None
    assert "DivergenceError" in str(record.error["traceback"])


def test_a_failed_cell_starts_again_and_leaves_no_checkpoint(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell("trainer.iterations=8", "trainer.chunk=4", "runtime.checkpoint_every=0")

    def broken(*_: object) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr("dip_stages.cells.outputs.plot_curve", broken)
        assert not resume(cell, tmp_path).lost
    assert not (tmp_path / CHECKPOINT).exists()
    assert record_of_resumed(cell, tmp_path) == []


def test_a_full_disk_fails_the_cell_as_lost(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dip_stages.cells.outputs.write_png", full)
    record = resume(cell, tmp_path)
    assert record.lost
    assert read_record(tmp_path).error == record.error


def test_leaving_the_process_fails_the_cell(cell: Cell, tmp_path: Path) -> None:
    record = resume(cell, tmp_path, should_stop=lambda: sys.exit(3))
    assert record.error is not None
    assert (record.error["type"], record.error["message"]) == ("SystemExit", "left with exit code 3")
    assert not record.lost


@pytest.mark.parametrize("iteration", [3, 7, 15])
def test_a_sigterm_that_lightning_handles_first_interrupts_too(
    cell: Cell, expected: Any, tmp_path: Path, iteration: int
) -> None:
    asked = iter(range(100))

    def terminate() -> bool:
        if next(asked) == iteration:
            signal.raise_signal(signal.SIGTERM)
        return False

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(Interrupted):
            run_cell(cell, tmp_path, threads=1, should_stop=terminate)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert resume(cell, tmp_path).metrics == expected


KILLED = """
import os, signal, sys, pathlib
from hydra import compose, initialize_config_dir
import dip_stages.cli
from dip_stages.cells.identity import cell_of
from dip_stages.config import CONF_DIR, parse
from dip_stages.cells.runner import run_cell
with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
    cell = cell_of(parse(compose("config", overrides=sys.argv[2:])))
asked = iter(range(30))
def should_stop():
    if next(asked, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return False
run_cell(cell, pathlib.Path(sys.argv[1]), threads=1, should_stop=should_stop)
"""


def test_a_killed_cell_resumes_from_its_last_checkpoint_to_the_same_bits(make_cell: MakeCell, tmp_path: Path) -> None:
    overrides = ("trainer.iterations=48", "trainer.chunk=4", "runtime.checkpoint_every=0")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a"), "preset=smoke", *overrides]
    assert subprocess.run(command, check=False, timeout=200).returncode == -signal.SIGKILL
    half_written = tmp_path / "a" / ".checkpoint.pt.1"
    half_written.write_bytes(b"PK")
    record = resume(make_cell(*overrides), tmp_path / "a")
    assert record.iterations["resumed_at"] == [28]
    assert record.metrics == resume(make_cell(*overrides), tmp_path / "b").metrics
    assert (tmp_path / "a" / "output.png").read_bytes() == (tmp_path / "b" / "output.png").read_bytes()
    assert not half_written.exists()


@pytest.mark.parametrize("calls", [0, 3, 10])
def test_an_interruption_from_the_keyboard_in_the_fit_is_one(
    cell: Cell, expected: Any, tmp_path: Path, calls: int
) -> None:
    left = iter(range(calls))

    def should_stop() -> bool:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return False

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="keyboard"):
        resume(cell, tmp_path, should_stop=should_stop)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / CHECKPOINT).exists() is (calls == 10)
    assert not (tmp_path / "record.json").exists()
    record = resume(cell, tmp_path)
    assert (record.metrics, record.iterations["resumed_at"]) == (expected, [8] if calls == 10 else [])


# An edge measures output and average, and at the end of a stage the output against the target.
@pytest.mark.parametrize(("number", "edges"), [(0, []), (3, [4]), (4, [4]), (5, [8]), (8, [12])])
def test_an_interruption_while_an_edge_is_measured_loses_no_row(
    cell: Cell, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, edges: list[int]
) -> None:
    left = iter(range(number))

    def measure(*images: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return quality(*images)

    monkeypatch.setattr("dip_stages.dip.callbacks.quality", measure)
    monkeypatch.setattr("dip_stages.cells.fits.Checkpointer", EachEdge)
    with pytest.raises(Interrupted, match="keyboard"):
        resume(cell, tmp_path)
    monkeypatch.undo()
    record = resume(cell, tmp_path)
    assert record.metrics == expected
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 1 + 4
    assert [stage["index"] for stage in record.stages] == [0, 1]
    assert record.iterations["resumed_at"] == edges


def test_an_interruption_while_images_are_left_costs_no_iteration(
    cell: Cell, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dip_stages.cells.outputs.write_png", struck)
    with pytest.raises(KeyboardInterrupt):
        resume(cell, tmp_path)
    monkeypatch.undo()
    record = resume(cell, tmp_path)
    assert (record.metrics, record.iterations["resumed_at"]) == (expected, [16])


def test_the_checkpoint_is_of_the_last_edge_however_seldom_one_is_due(make_cell: MakeCell, tmp_path: Path) -> None:
    never = make_cell("method=baseline", "trainer.iterations=16", "trainer.chunk=4", "runtime.checkpoint_every=null")
    left = iter(range(15))
    with pytest.raises(Interrupted):
        resume(never, tmp_path, should_stop=lambda: next(left, None) is None)
    saved = saved_in(tmp_path, never)
    assert saved["unfinished"][0]["iteration"] == 12
    assert [row["iteration"] for row in saved["rows"]] == [4, 8, 12]
    assert record_of_resumed(never, tmp_path) == [12]


def record_of_resumed(cell: Cell, folder: Path) -> Any:
    return resume(cell, folder).iterations["resumed_at"]
