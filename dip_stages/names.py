"""Names as people may see them: files and folders may be named by any bytes, and terminals obey some of them."""

from __future__ import annotations

import logging
import unicodedata

__all__ = ["PrintableFormatter", "printable"]


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


class PrintableFormatter(logging.Formatter):
    """Formats the entries of a log as printable text; line ends stay."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry."""
        return printable(super().format(record), keep="\n")
