"""Texts made safe for each kind of output. Each function takes a name as it is, or as :func:`printable` left it."""

from __future__ import annotations

import html as _html
import re
from typing import TYPE_CHECKING, Any

from dip_stages.names import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["html", "latex", "markdown", "printable_values", "to_csv"]


def printable_values(values: Any) -> Any:
    """Return nested values with every text in them printable; keys stay."""
    if isinstance(values, dict):
        return {key: printable_values(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [printable_values(value) for value in values]
    return printable(values) if isinstance(values, str) and not values.isprintable() else values


_MARKDOWN = re.compile(
    r"\\(?=[!-/:-@\[-`{-~]|$)"  # a backslash that would escape what is after it
    r"|[|`$]"  # cells, code, formulas
    r"|(?<=\S)\*|\*(?=\S)"  # emphasis, but not a lone star
    r"|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)"  # emphasis, but not within a word
    r"|~(?=~)"  # strikethrough
    r"|(?<=\])[(\[]"  # links
)
_ENTITY = re.compile(r"&(?=#?\w+;)")


def markdown(text: object) -> str:
    r"""Return a text that Markdown shows as it is, in a table or outside, with no HTML in it.

    Example:
        >>> print(markdown("a|b <script>"), markdown("scaled_linear"))
        a\|b &lt;script&gt; scaled_linear
    """
    escaped = _ENTITY.sub("&amp;", _MARKDOWN.sub(r"\\\g<0>", printable(text)))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", '"': r"{\char34}", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(text: object) -> str:
    r"""Return a text with LaTeX's own characters escaped.

    Example:
        >>> print(latex("50%_of [a]"))
        50\%\_of {[}a{]}
    """
    escaped = "".join(_LATEX.get(letter, letter) for letter in printable(text))
    return f"{{*}}{escaped[1:]}" if escaped.startswith("*") else escaped  # after the end of a row it is an option


def html(text: object) -> str:
    """Return a text with HTML's own characters escaped."""
    return _html.escape(printable(text))


_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes a formula to begin with; some take the wide forms too."""

_NUMBER = r"[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+|inf|nan)"
_NUMBERS = re.compile(f"{_NUMBER}( to {_NUMBER}( [a-z ]+)?)?", re.IGNORECASE)
"""A number or an interval, whose sign makes no formula of it."""


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV. A text that a spreadsheet would compute gets an apostrophe, unless it is a number."""
    safe = table.copy()
    for column in safe.columns[[dtype.kind == "O" for dtype in safe.dtypes]]:
        safe[column] = safe[column].map(_no_formula, na_action="ignore")
    return str(safe.rename(columns=_no_formula).to_csv(index=False))


def _no_formula(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    formula = value.lstrip(" \n").startswith((*_FORMULA, "\t", "\r"))
    return f"'{text}" if formula and not _NUMBERS.fullmatch(text) else text
