"""The files that docs/extending.md says to write: options that are written outside of the package."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dip_stages.config import data, targets

__all__ = ["CONFIG_FOLDERS", "EVERYTHING", "PAGE", "always", "even", "files_of", "forget", "write_lab"]

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"

CONFIG_FOLDERS = PAGE.with_name("config_folders.md")

EVERYTHING = (
    "--config-dir", "conf", "sweep=custom", "sweep.name=own", "preset=smoke", "arch=deep,unet", "loss=l1,charbonnier",
    "scheduler=power", "budget=late", "stopping=plateau", "average=halves", "data=disks", "noise=banded",
    "method=self_guided,staged", "trainer.iterations=40", "trainer.chunk=10",
    "sweep.exclude=[{method:self_guided,loss:charbonnier}]",
)  # fmt: skip
"""A sweep of all of them."""


def forget() -> None:
    """Forget the modules of a lab, and what was made of them, for a test in another folder."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]
    targets._typed_in.clear()
    for cached in (targets.loaded, targets.code_of, data._own_file):
        cached.cache_clear()


def even(beta_max: float, stages: int) -> list[float]:
    """Return a schedule."""
    return [beta_max * (stage + 1) / stages for stage in range(stages)]


def always(beta: float) -> int:
    """Return a budget."""
    del beta
    return 100


def files_of(page: Path) -> dict[str, str]:
    """Return the files that a page says to write, by their paths."""
    return dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", page.read_text(), flags=re.S))


def write_lab(folder: Path, page: Path = PAGE) -> None:
    """Write a page's files into a folder."""
    for name, code in files_of(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
