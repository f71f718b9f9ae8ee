"""Settings that had another name in an earlier version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_renamed", "check_renamed_in"]

_RENAMED = {
    "readers": "monitors",
    "sweep.references": "sweep.competitors",
    "sweep=references": "sweep=competitors",
}
"""New names by old ones, as typed."""


def check_renamed(name: str) -> None:
    """Refuse the old name of a setting, a group or a sweep.

    Args:
        name: A key such as ``readers.rules``, or an override such as ``sweep=references``.

    Raises:
        ConfigError: If it is one; the message gives the new name.
    """
    for old, new in _RENAMED.items():
        if name == old or name.startswith((f"{old}.", f"{old}=", f"{old}@")):
            raise ConfigError(f"renamed; type {new}{name.removeprefix(old)}", setting=name.partition("=")[0])


def check_renamed_in(folder: Path) -> None:
    """Refuse old names in the defaults lists of a user's own configs: Hydra's message about them names no new ones.

    Args:
        folder: What follows ``--config-dir``; its YAML files are read.

    Raises:
        ConfigError: If one has an old name.
    """
    for file in sorted(folder.rglob("*.yaml")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if entry := re.match(r"\s*- +(?:override +)?/?([\w@.]+) *:", line):
                check_renamed(entry[1])
