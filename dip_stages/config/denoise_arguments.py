"""What may be typed behind ``dip-stages-denoise``: input, output, settings and options; and what to type instead."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dip_stages.console import program, quoted
from dip_stages.errors import ConfigError
from dip_stages.images.encoding import ENDINGS, QUALITY
from dip_stages.images.opening import FORMAT_NAMES, endings
from dip_stages.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["parse_arguments", "to_type"]

_HELP = f"""\
Denoise one image of which there is no clean version.

  INPUT   {FORMAT_NAMES}
  OUTPUT  its ending gives the format:
          {" ".join(ENDINGS)}

The output has the size, depth, colours, transparency, colour profile,
resolution and EXIF of the input, as far as its format holds them.
What is done is kept in OUTPUT.work until the end: after an interruption, the
same command resumes."""

_SETTINGS = """\
settings (more: %(settings)s --help):
  sigma=25/255             standard deviation of the noise, where white is 1
                           (default: estimated from the image)
  trainer.iterations=800   iterations of the fit, at most
  ensemble.members=4       fits that are averaged
  method=bm3d              another method

example:
  %(example)s"""

_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)
"""Negative numbers; of those with an exponent, argparse's own pattern knows nothing."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._negative_number_matcher = _NEGATIVE

    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with 2."""
        message = message.removeprefix("argument ")
        if found := re.fullmatch(r"(--\w+): expected .*", message):
            values = self._option_string_actions[found[1]].metavar
            message += f"; to type: {found[1]} {values if isinstance(values, str) else ' '.join(values or ())}"
        self.exit(2, f"{printable(message)}\n")


def _read(kind: Callable[[str], float], allowed: str, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: {allowed}") from None


_whole, _number = partial(_read, int, "a whole number"), partial(_read, float, "a number")


def _parser(tile: int, overlap: int) -> _Parser:
    started = program("dip_stages.denoise")
    example = f"{started} noisy.png denoised.png sigma=25/255 --tile 256"
    parser = _Parser(
        prog=started,
        usage="%(prog)s INPUT OUTPUT [setting=value ...] [options]",
        description=_HELP,
        epilog=_SETTINGS % {"settings": program(), "example": example},
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--force", action="store_true", help="replace the output if it is there already")
    add(
        "--tile",
        type=_whole,
        default=tile,
        metavar="N",
        help="pixels a side of what is fitted at once (default %(default)s)",
    )
    add(
        "--overlap",
        type=_whole,
        default=overlap,
        metavar="N",
        help="pixels that neighbouring tiles share (default %(default)s)",
    )
    black_white = ("BLACK", "WHITE")
    add("--range", type=_number, nargs=2, metavar=black_white, help="values of the file that are black and white")
    add("--frame", type=_whole, metavar="N", help="which image of a file with several, from 0 (default 0)")
    quality = f"1 to 100 (default {QUALITY} for JPEG and AVIF, no loss for WebP)"
    add("--quality", type=_whole, metavar="N", help=quality)
    return parser


def parse_arguments(arguments: Sequence[str] | None, *, tile: int, overlap: int) -> argparse.Namespace:
    """Return the options with ``input`` and ``output``, both paths; ``settings``; and ``options`` as they are typed.

    Args:
        arguments: Of the command line; None for those of this process.
        tile: The default of ``--tile``.
        overlap: The default of ``--overlap``.

    Raises:
        ConfigError: If something is missing, unknown, or in the wrong place; the message says what to type.
    """
    parser = _parser(tile, overlap)
    typed = sys.argv[1:] if arguments is None else list(arguments)
    given, rest = parser.parse_known_args(typed)
    end = rest.index("--") if "--" in rest else len(rest)
    for word in rest[:end]:
        if word.startswith("-") and not _NEGATIVE.match(word):
            raise ConfigError(_meant_by(word, typed, parser), setting=word.partition("=")[0])
    words = rest[:end] + rest[end + 1 :]
    given.settings = [word for word in words if _is_setting(word)]
    given.options = _options(parser, given)
    paths = [word for word in words if not _is_setting(word)]
    if words[:2] != paths or len(paths) != 2:
        raise ConfigError(_misplaced(words, paths, given))
    given.input, given.output = map(Path, paths)
    return given


def to_type(given: argparse.Namespace, *paths: str | Path) -> str:
    """Return the command with other paths in place of those that were typed, for a message."""
    words = [*map(_path_word, map(str, paths)), *given.settings, *given.options]
    return " ".join(["to type:", program("dip_stages.denoise"), *map(quoted, words)])


def _path_word(path: str) -> str:
    """Return a path such that it is taken neither for an option nor for a setting."""
    return f"./{path}" if path.startswith("-") or _has_setting_form(path) else path


def _has_setting_form(word: str) -> bool:
    return re.match(r"[+~]*[A-Za-z_][\w./@]*=|~[A-Za-z_][\w.]*$", word) is not None


def _is_setting(word: str) -> bool:
    return _has_setting_form(word) and not os.path.exists(word)  # noqa: PTH110 - pathlib's raises errors on long words


def _is_image_name(word: str) -> bool:
    return Path(word).suffix.lower() in {*ENDINGS, *endings()}


def _options(parser: _Parser, given: argparse.Namespace) -> list[str]:
    """Return the options that differ from their defaults, as they are typed."""
    words = []
    for action in parser._actions:
        value = getattr(given, action.dest, None)
        if value not in (None, action.default):
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [action.option_strings[-1], *(f"{number:.9g}" for number in values)]
    return words


def _meant_by(word: str, typed: list[str], parser: _Parser) -> str:
    """Return what to type instead of an option that does not exist."""
    name, equals, value = word.partition("=")
    key = name.lstrip("-")
    options = [action.option_strings[-1] for action in parser._actions if action.dest != "help"]
    if _is_image_name(word):
        return f"no such option; a file of this name: {_path_word(word)}"
    if key in ("i", "input", "o", "output"):
        return "no such option; input and output are typed without one, in this order"
    if not equals:
        value = next(iter(typed[typed.index(word) + 1 :]), "")
    settings = _setting_names()
    if key in settings or key.partition(".")[0] in settings:
        return f"no such option, but a setting; to type: {quoted(f'{key}={value}') if value else f'{key}=…'}"
    if near := difflib.get_close_matches(name, options, 1):
        return f"no such option; did you mean {near[0]}?"
    if near := difflib.get_close_matches(key, settings, 1):
        return f"no such option; did you mean the setting {near[0]}=…?"
    if not word.startswith("--") and (near := [option for option in options if option[2] == key[:1]]):
        return f"no such option; to type: {near[0]}"
    return f"no such option; allowed: {', '.join(options)}"


def _setting_names() -> set[str]:
    from dip_stages.config.parsing import SETTINGS

    return {*SETTINGS, "sigma", "beta_max", "seed", "preset"}


def _misplaced(words: list[str], paths: list[str], given: argparse.Namespace) -> str:
    """Return what is wrong with the input, the output and the settings, and what to type."""
    joined = re.sub("\0*=\0*", "=", "\0".join(words)).split("\0")
    if joined != words and _are_right(joined):
        given.settings = joined[2:]
        return f"a setting has no spaces around its =; {to_type(given, *joined[:2])}"
    files = [word for word in given.settings if _is_image_name(word)]
    if files and len(paths) < 2 and _are_right(words[:2], files):
        given.settings = [word for word in words[2:] if _is_setting(word)]
        return f"{files[0]} is taken for a setting; for a file of this name, {to_type(given, *words[:2])}"
    found = Path(paths[0]) if paths else Path("noisy.png")
    ending = found.suffix if found.suffix.lower() in ENDINGS else ".png"
    output = paths[1] if len(paths) > 1 else found.parent / f"{found.stem or 'image'}-denoised{ending}"
    problem = (
        "the input and the output are missing",
        "the output is missing",
        "the settings come after the input and the output",
        "there is more than one input and one output",
    )[min(len(paths), 3)]
    return f"{problem}; {to_type(given, found, output)}"


def _are_right(words: list[str], files: Iterable[str] = ()) -> bool:
    """Whether words are an input, an output, and then settings; ``files`` are no settings."""
    settings = [_is_setting(word) and word not in files for word in words]
    return settings.count(False) == 2 and settings == sorted(settings)
