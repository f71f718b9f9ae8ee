from __future__ import annotations

import shutil
from pathlib import Path

import grimp

from dip_stages.store import fingerprint as module
from dip_stages.store.fingerprint import fingerprint

PACKAGE = Path(module.__file__).parents[1]


def test_it_is_that_of_the_modules_that_compute_and_of_no_others(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "dip_stages", ignore=shutil.ignore_patterns("__pycache__"))
    planned = module._hash_of_sources(copy)
    assert planned == fingerprint()
    for other in (
        "denoise.py", "errors.py", "plotting.py", "images/encoding.py", "report/page.py", "store/files.py",
        "sweep/drive.py", "workers/main.py",
    ):  # fmt: skip
        with (copy / other).open("a") as file:
            file.write("# changed\n")
        assert module._hash_of_sources(copy) == planned, other
    for computing in ("dip/stopping/base.py", "dip/archs/unet.py", "config/config.py", "images/reading.py"):
        source = (copy / computing).read_text()
        (copy / computing).write_text(source + "# changed\n")
        assert module._hash_of_sources(copy) != planned, computing
        (copy / computing).write_text(source)
    assert module._hash_of_sources(copy) == planned


def test_every_module_that_a_cell_needs_is_in_it_but_for_those_that_are_no_part_of_a_result() -> None:
    graph = grimp.build_graph("dip_stages", exclude_type_checking_imports=True, cache_dir=None)
    needed = {name.replace(".", "/") for name in graph.find_upstream_modules("dip_stages.cells.runner")}
    computing = {f"dip_stages/{name.removesuffix('.py')}" for name in module._COMPUTES}
    others = {name for name in needed if not any(f"{name}/".startswith(f"{part}/") for part in computing)}
    names = {name.removeprefix("dip_stages/") for name in others if not (PACKAGE.parent / name).is_dir()}
    assert names == {
        "clock", "console", "errors", "names", "plotting", "store/files", "store/fingerprint", "store/json_files",
        "store/leases", "store/statuses", "store/text",
    }  # fmt: skip
    assert all((PACKAGE / name).exists() for name in module._COMPUTES)
