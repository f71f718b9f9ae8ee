"""Small pieces of messages that are needed in several places. Torch-free."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from dip_stages.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["first_line", "meant", "os_reason", "plural"]


def first_line(message: object, *, default: str = "for an unknown reason") -> str:
    r"""Return the first line of a message, or of an error's, printable; ``default`` where it is empty.

    Example:
        >>> first_line("no such file\nas of today"), first_line("")
        ('no such file', 'for an unknown reason')
    """
    return printable(next(iter(str(message).strip().splitlines()), default))


def meant(word: str, names: Iterable[str]) -> str:
    """Return the question whether one of several names was meant, in brackets; nothing where none is near.

    Example:
        >>> meant("archh", ["arch", "loss"]), meant("x", ["arch", "loss"])
        (' (did you mean arch?)', '')
    """
    near = difflib.get_close_matches(word, list(names), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    Example:
        >>> plural(1, "cell"), plural(3, "cell")
        ('1 cell', '3 cells')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def os_reason(error: OSError) -> str:
    """Return why the system refused something, without number and path where it gives a reason.

    Example:
        >>> os_reason(OSError(28, "No space left on device")), os_reason(OSError("the disk is gone"))
        ('No space left on device', 'the disk is gone')
    """
    return error.strerror or str(error)
