from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import grimp

from dip_stages import orders
from dip_stages.errors import DriftError, PictureError
from dip_stages.orders import Order, fingerprint, read_order
from dip_stages.pictures import bundled_path
from dip_stages.records import read_record
from dip_stages.worker import Stopper, carry_out
from tests.raising import refused

if TYPE_CHECKING:
    import pytest

    from tests.conftest import MakeCell


def test_an_order_holds_the_planned_cell_whatever_conf_says_later(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("arch=dncnn", "seed=3")
    Order.of(cell, tmp_path, stop=tmp_path / "stop").write(tmp_path / "order.json")
    order = read_order(tmp_path / "order.json")
    assert order.cell() == cell
    assert order.axes == cell.axes


def test_other_code_than_the_plans_is_drift_and_the_cell_says_so(make_cell: MakeCell, tmp_path: Path) -> None:
    order = dataclasses.replace(Order.of(make_cell(), tmp_path), code="before")
    with refused(DriftError, problem="the code of dip_stages"):
        order.cell()
    outcome = carry_out(order, Stopper())
    assert (outcome.status, outcome.spoilt) == ("failed", True)
    record = read_record(tmp_path)
    assert record.lost
    assert record.error is not None
    assert "the same command plans anew" in record.error["message"]


def test_a_module_of_other_code_that_is_imported_late_is_drift_and_the_cell_is_lost(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = fingerprint()
    monkeypatch.setattr(orders, "_hash_of_sources", lambda _: "edited since")
    assert fingerprint() == planned
    cell = make_cell("method=ddpm", "method.training.iterations=1", "method.training.width=8")
    assert carry_out(Order.of(cell, tmp_path / "sweep" / cell.folder), Stopper()).spoilt
    record = read_record(tmp_path / "sweep" / cell.folder)
    assert record.lost
    assert record.error is not None
    assert record.error["type"] == "DriftError"


def test_another_picture_than_the_plans_is_drift(make_cell: MakeCell, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(bundled_path("coffee").read_bytes())
    order = Order.of(make_cell("data=file", f"data.path={picture}"), tmp_path)
    picture.write_bytes(bundled_path("camera").read_bytes())
    with refused(DriftError, problem=f"not {order.id}"):
        order.cell()
    picture.unlink()
    with refused(DriftError, problem=f"{picture}: ") as caught:
        order.cell()
    assert isinstance(caught.value.__cause__, PictureError)
    assert caught.value.__cause__.setting == str(picture)


def test_the_fingerprint_is_that_of_the_modules_that_compute_and_of_no_others(tmp_path: Path) -> None:
    package = Path(orders.__file__).parent
    copy = shutil.copytree(package, tmp_path / "dip_stages", ignore=shutil.ignore_patterns("__pycache__"))
    planned = orders._hash_of_sources(copy)
    assert planned == fingerprint()
    for other in ("single.py", "queues.py", "denoise.py", "errors.py", "worker.py", "report/page.py", "sweep/drive.py"):
        with (copy / other).open("a") as file:
            file.write("# changed\n")
        assert orders._hash_of_sources(copy) == planned, other
    for computing in ("stopping.py", "modules/dip.py", "archs/unet.py", "config/schema.py"):
        source = (copy / computing).read_text()
        (copy / computing).write_text(source + "# changed\n")
        assert orders._hash_of_sources(copy) != planned, computing
        (copy / computing).write_text(source)
    assert orders._hash_of_sources(copy) == planned


def test_every_module_that_a_cell_needs_is_in_the_fingerprint_but_for_those_that_are_no_part_of_a_result() -> None:
    graph = grimp.build_graph("dip_stages", exclude_type_checking_imports=True)
    needed = {name.split(".")[1] for name in graph.find_upstream_modules("dip_stages.runner") if "." in name}
    assert needed - set(orders._COMPUTES) == {"claims", "errors", "figures", "files", "orders"}
    package = Path(orders.__file__).parent
    assert all((package / name).is_dir() or (package / f"{name}.py").is_file() for name in orders._COMPUTES)
