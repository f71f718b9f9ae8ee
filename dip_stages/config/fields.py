"""Fields that state which values they allow, and sections that check them.

.. code-block:: python

    @dataclass(frozen=True)
    class UNetConfig(Section, section="arch"):
        name: str = "unet"
        width: int = bounded(64, at_least=1)
        padding_mode: str = choice("reflect", ("reflect", "zeros"))

``UNetConfig(width=0)`` then raises ``ConfigError``: ``arch.width: got 0; allowed: a number >= 1``.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, get_args

from dip_stages.errors import check_choice, check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dip_stages.config.config import Config

    Check = Callable[[str, Any], None]

__all__ = ["Conflict", "Section", "allowed_names", "as_whole", "bounded", "checked", "choice", "options"]


class Conflict(NamedTuple):
    """Why a part of a configuration cannot be used with another part.

    Attributes:
        other: The setting that excludes it, as it is typed, and why.
        allowed: What to type instead.
        name: The setting within the section that is excluded; empty for the whole option.
    """

    other: str
    allowed: str
    name: str = ""


class Section:
    """Base of the frozen dataclasses of one group; checks the fields made by :func:`checked` and the like.

    A field that may be None is not checked when it is None.
    """

    section: ClassVar[str]

    def __init_subclass__(cls, *, section: str | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if section is not None:
            cls.section = section

    def conflict(self, config: Config) -> Conflict | None:
        """Return why these settings cannot be used in a fit with the others; None if they can."""
        del config
        return None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            check: Check | None = field.metadata.get("check")
            if check is None or (value is None and str(field.type).endswith("None")):
                continue
            for part in value if str(field.type).startswith("list") else [value]:
                check(f"{self.section}.{field.name}", part)


def checked(default: Any, check: Check, **metadata: object) -> Any:
    """Return a dataclass field with a check.

    Args:
        default: Its default; a list is copied for each instance.
        check: Called with the setting's key and value, for a list with each of its values; raises ``ConfigError``.
        metadata: Further metadata of the field, such as ``neutral`` (:func:`dip_stages.cells.settings.neutral_values`).
    """
    metadata = {"check": check, **metadata}
    if isinstance(default, list):
        return dataclasses.field(default_factory=partial(list, default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def bounded(
    default: float | None,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    **metadata: object,
) -> Any:
    """Return the field of a finite number within bounds."""
    check = partial(check_range, at_least=at_least, above=above, at_most=at_most, below=below)
    return checked(default, check, **metadata)


def choice(default: str | list[str], allowed: Iterable[str], **metadata: object) -> Any:
    """Return the field of one of several texts, or of a list of them."""
    return checked(default, partial(check_choice, allowed=tuple(allowed)), **metadata)


def as_whole(value: Any) -> Any:
    """Return a value; a float without a fraction as a whole number: ``1e3`` is one to those who type it.

    Example:
        >>> as_whole(1e3), as_whole(0.5), as_whole("x")
        (1000, 0.5, 'x')
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


def allowed_names(schema: type) -> tuple[str, ...]:
    """Return what the field ``name`` of a schema may be, which names a group's built-in options."""
    name = next(field for field in dataclasses.fields(schema) if field.name == "name")
    allowed: tuple[str, ...] = name.metadata["check"].keywords["allowed"]
    return allowed


def options(schemas: Any, key: str = "name") -> dict[str, Any]:
    """Return the schemas of a union by the defaults of their field ``key``, which name a group's built-in options."""
    return {
        field.default: schema
        for schema in get_args(schemas)
        for field in dataclasses.fields(schema)
        if field.name == key and field.default is not dataclasses.MISSING
    }
