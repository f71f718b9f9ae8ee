from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages import checkpoint
from dip_stages.checkpoint import resume_from
from dip_stages.errors import Interrupted
from dip_stages.records import CHECKPOINT, Record, read_record
from dip_stages.runner import run_cell

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cell import Cell
    from tests.conftest import MakeCell


@pytest.fixture(scope="module")
def cell(make_cell: MakeCell) -> Cell:
    return make_cell("trainer.iterations=16", "trainer.chunk=4", "scheduler.stages=2")


@pytest.fixture(scope="module")
def expected(cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_cell(cell, tmp_path_factory.mktemp("undisturbed"), threads=1).metrics


def interrupted(cell: Cell, folder: Path, after: int = 10, **settings: Any) -> Path:
    left = iter(range(after))
    with pytest.raises(Interrupted, match="iterations done: 8"):
        run_cell(cell, folder, threads=1, stopping=lambda: next(left, None) is None, **settings)
    return folder / CHECKPOINT


def go_on(cell: Cell, folder: Path, **settings: Any) -> Record:
    return run_cell(cell, folder, threads=1, **settings)


def test_an_interrupted_cell_leaves_a_checkpoint_and_no_record(cell: Cell, tmp_path: Path) -> None:
    interrupted(cell, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "logs"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_set_aside_and_the_cell_begins_anew(
    cell: Cell, expected: Any, tmp_path: Path, share: float
) -> None:
    path = interrupted(cell, tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    record = go_on(cell, tmp_path)
    assert record.metrics == expected
    assert record.iterations["resumed_at"] == []
    assert "set aside as checkpoint.pt.broken, the cell began anew" in record.computed["notes"][0]
    assert (tmp_path / "checkpoint.pt.broken").exists()
    assert not path.exists()


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_is_noticed_or_makes_no_difference(
    cell: Cell, expected: Any, tmp_path: Path, where: float
) -> None:
    path = interrupted(cell, tmp_path)
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)
    assert go_on(cell, tmp_path).metrics == expected


def test_no_code_in_a_checkpoint_is_run(cell: Cell, expected: Any, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"schema": checkpoint.SCHEMA, "module": Payload()}, tmp_path / CHECKPOINT)
    assert go_on(cell, tmp_path).metrics == expected
    assert not (tmp_path / "owned").exists()
    (tmp_path / CHECKPOINT).write_bytes(pickle.dumps(Payload()))
    assert go_on(cell, tmp_path).metrics == expected
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_other_code_or_of_another_cell_is_not_gone_on_from(
    cell: Cell, expected: Any, tmp_path: Path, make_cell: MakeCell
) -> None:
    interrupted(cell, tmp_path, code="before")
    record = go_on(cell, tmp_path, code="after")
    assert record.computed["notes"] == ["checkpoint.pt: made with other code; removed, the cell began anew"]
    assert (record.metrics, record.iterations["resumed_at"]) == (expected, [])
    interrupted(cell, tmp_path)
    other = go_on(make_cell("trainer.iterations=16", "trainer.chunk=4", "seed=5"), tmp_path)
    assert f"made with another cell, {cell.id}" in other.computed["notes"][0]


def test_the_checkpoint_of_a_cell_that_is_done_is_kept_on_request(make_cell: MakeCell, tmp_path: Path) -> None:
    every_edge = ("trainer.iterations=8", "trainer.chunk=4", "runtime.checkpoint_every=0")
    go_on(make_cell(*every_edge), tmp_path / "a")
    assert not (tmp_path / "a" / CHECKPOINT).exists()
    kept = make_cell(*every_edge, "runtime.keep_checkpoint=true")
    go_on(kept, tmp_path / "b")
    assert (tmp_path / "b" / CHECKPOINT).exists()
    assert kept.id == make_cell(*every_edge).id


def test_a_full_disk_costs_the_checkpoint_and_not_the_cell(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    record = go_on(make_cell("trainer.iterations=8", "trainer.chunk=4", "runtime.checkpoint_every=0"), tmp_path)
    assert record.status == "done"
    assert record.computed["notes"] == ["no checkpoint could be written: [Errno 28] No space left on device"]
    assert not list(tmp_path.glob("*checkpoint*"))


def test_a_full_disk_fails_the_cell_as_lost(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dip_stages.runner.write_png", full)
    record = go_on(cell, tmp_path)
    assert record.lost
    assert read_record(tmp_path).error == record.error


def test_leaving_the_process_fails_the_cell(cell: Cell, tmp_path: Path) -> None:
    record = go_on(cell, tmp_path, stopping=lambda: sys.exit(3))
    assert record.error is not None
    assert (record.error["type"], record.error["message"]) == ("SystemExit", "left with exit code 3")
    assert not record.lost


def test_there_is_nothing_to_go_on_from_in_an_empty_folder(tmp_path: Path) -> None:
    assert resume_from(tmp_path, "abc", {}) == (None, None)


KILLED = """
import os, signal, sys, pathlib
from hydra import compose, initialize_config_dir
import dip_stages.cli
from dip_stages.cell import cell_of
from dip_stages.config import CONF_DIR, parse
from dip_stages.runner import run_cell
with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
    cell = cell_of(parse(compose("config", overrides=sys.argv[2:])))
run_cell(cell, pathlib.Path(sys.argv[1]), threads=1)
"""


def test_a_killed_process_goes_on_from_its_last_checkpoint_to_the_same_bits(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    overrides = ("trainer.iterations=4000", "trainer.chunk=4", "runtime.checkpoint_every=0")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "a"), "preset=smoke", *overrides])
    deadline = time.monotonic() + 100
    while not (tmp_path / "a" / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    shorter = make_cell(*overrides[1:], "trainer.iterations=4000")
    record = go_on(shorter, tmp_path / "a")
    assert record.iterations["resumed_at"][0] > 0
    assert record.metrics == go_on(shorter, tmp_path / "b").metrics
