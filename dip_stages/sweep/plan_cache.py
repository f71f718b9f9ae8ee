"""Plans that are still valid on disk, so that a sweep with nothing to do need not plan every cell again."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from dip_stages.config.paths import SWEEPS_DIR
from dip_stages.config.targets import code_of
from dip_stages.errors import RecordError
from dip_stages.store.hashing import file_sha256
from dip_stages.store.plans import read_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

__all__ = ["CachedPlan", "cached_plan", "made_from"]

_RESOLVER = re.compile(rb"\$\{(?!cell_folder:|hydra:|program:)[\w.]+:")


@dataclass(frozen=True)
class CachedPlan:
    """The cells of a plan on disk that planning again would give too.

    Attributes:
        name: The sweep's.
        root: Its folder.
        cells: Folder name and id of each cell, in order.
    """

    name: str
    root: Path
    cells: tuple[tuple[str, str], ...]


def made_from(arguments: Sequence[str], master: DictConfig, loader: ConfigLoader) -> str | None:
    """Return a hash of what cells are planned from, except their images: arguments, configs, and sources.

    Args:
        arguments: The sweep's overrides.
        master: What Hydra composed for the sweep as a whole; it holds the working folder too.
        loader: Hydra's.

    Returns:
        The hash; None if configs do not come from files alone, or use a resolver, such as ``oc.env``, whose value is in
        no file.
    """
    sha = hashlib.sha256()
    for part in (*arguments, OmegaConf.to_yaml(master), *map(version, ("hydra-core", "omegaconf"))):
        sha.update(part.encode(errors="surrogateescape") + b"\0")
    package = Path(__file__).resolve().parents[1]
    folders = [*_config_folders(loader), SWEEPS_DIR]
    files = [path for folder in folders if folder for path in sorted(folder.rglob("*.yaml"))]
    sources = [*sorted(package.rglob("*.py")), *sorted((package.parent / "hydra_plugins" / "dip_stages").rglob("*.py"))]
    texts = {path: path.read_bytes() for path in (*files, *sources)}
    asked = (" ".join(arguments).encode(errors="surrogateescape"), *(texts[path] for path in files))
    if None in folders or any(_RESOLVER.search(text) for text in asked):
        return None
    for path, text in texts.items():
        sha.update(f"{path}\0".encode(errors="surrogateescape") + text + b"\0")
    return sha.hexdigest()


def cached_plan(root: Path, made: str | None) -> CachedPlan | None:
    """Return the plan in a sweep's folder if planning now would give the same one; None if not, or if that is unknown.

    Args:
        root: The sweep's folder.
        made: From :func:`made_from`.
    """
    try:
        plan = read_plan(root)
        if made is None or plan.get("made_from") != made:
            return None
        if any(file_sha256(path) != planned for path, planned in plan["images"].items()):
            return None
        if any(code_of(target) != planned for target, planned in plan["code"].items()):
            return None
        return CachedPlan(plan["name"], root, tuple((cell["folder"], cell["id"]) for cell in plan["cells"]))
    except (OSError, RecordError, KeyError):
        return None


def _config_folders(loader: ConfigLoader) -> Iterator[Path | None]:
    """Yield the folders that configs are read from; None for a source that is neither a folder nor Hydra's own."""
    for element in loader.get_search_path().get_path():
        if element.path.startswith("file://") or "://" not in element.path:
            yield Path(element.path.removeprefix("file://"))
        elif element.path not in ("structured://", "pkg://hydra.conf"):
            yield None
