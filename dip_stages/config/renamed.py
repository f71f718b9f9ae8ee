"""Settings that had another name in an earlier version."""

from __future__ import annotations

from dip_stages.errors import ConfigError

__all__ = ["check_renamed"]

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
        if name == old or name.startswith((f"{old}.", f"{old}=")):
            raise ConfigError(f"renamed; type {new}{name.removeprefix(old)}", setting=name.partition("=")[0])
