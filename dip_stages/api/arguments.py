"""Arguments that programs get wrong, answered before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_overrides"]


def as_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides as a list.

    Raises:
        ConfigError: If they are no list of texts such as ``arch.width=8``.

    Example:
        >>> as_overrides(("seed=1",))
        ['seed=1']
    """
    allowed = 'a list of texts, as in ["method=baseline", "seed=1"]'
    if isinstance(overrides, (str, bytes, dict)) or not hasattr(overrides, "__iter__"):
        raise ConfigError(setting="overrides", got=overrides, allowed=allowed)
    listed = list(overrides)
    for override in listed:
        if not isinstance(override, str):
            raise ConfigError(setting="overrides", got=listed, allowed=allowed)
        if not override.strip() or override.startswith("-"):
            problem = ", which is no override"
            allowed = "setting=value; a folder of your own as hydra.searchpath=[file:///home/me/my_conf]"
            raise ConfigError(problem, setting="overrides", got=override, allowed=allowed)
    return listed
