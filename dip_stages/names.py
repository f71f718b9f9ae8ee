"""Names as people may see them: files and folders may be named by any bytes, and terminals obey some of them."""

from __future__ import annotations

import logging
import os
import shlex
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PrintableFormatter", "printable", "shell_command"]


def printable(text: object, *, keep: str = "") -> str:
    r"""Return a text in which every character is visible, and which is valid Unicode.

    Control characters, line ends, invisible marks, marks that change the direction of writing, and bytes that are not
    UTF-8 become escapes; spaces stay. What is printable already is returned as it is.

    Args:
        text: Any object, for its text.
        keep: Characters to leave as they are, such as the line ends of a text of several lines.

    Example:
        >>> print(printable("a\x1b[2J\udcff\u202eb.png"))
        a\x1b[2J\xff\u202eb.png
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(letter if letter in keep or _is_visible(letter) else _escape(letter) for letter in text)


def _is_visible(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # Python's stand-in for a byte that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def shell_command(words: Iterable[str | os.PathLike[str]]) -> str:
    r"""Return the command whose words these are, for a shell and printable; bash, zsh and ksh know ``$'…'``.

    Example:
        >>> print(shell_command(["ls", "two words", "a\x1b's\udcff"]))
        ls 'two words' $'a\x1b\'s\xff'
    """
    return " ".join(_shell_word(os.fspath(word)) for word in words)


def _shell_word(word: str) -> str:
    if word == printable(word):
        return shlex.quote(word)
    return "$'" + "".join(map(_shell_letter, word)) + "'"


def _shell_letter(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    return letter if _is_visible(letter) else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


class PrintableFormatter(logging.Formatter):
    """Formats the entries of a log as printable text; line ends stay."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry."""
        return printable(super().format(record), keep="\n")
