from __future__ import annotations

import io
import logging
import os
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dip_stages.console import quoted
from dip_stages.errors import ConfigError, ImageError
from dip_stages.names import PrintableFormatter, printable
from dip_stages.store.text import first_line

ODD = os.fsdecode(b"a\xff\x1b[31m\r\n\t\x7f\xc2\x9b\xe2\x80\xae\xe2\x80\x8b\xe2\x80\xa8b")
SEEN = r"a\xff\x1b[31m\r\n\t\x7f\x9b\u202e\u200b\u2028b"
NAMES = st.binary(min_size=1).map(lambda name: os.fsdecode(name.replace(b"\0", b"")))


@given(NAMES | st.text())
def test_what_people_see_is_visible_and_valid_and_escaped_once(name: str) -> None:
    seen = printable(name)
    seen.encode()
    assert not {unicodedata.category(letter) for letter in seen} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(seen) == seen


def test_ordinary_names_stay() -> None:
    for name in ("rocket", "Été à la plage.png", "日本\u3000語", "a|b<c>$d", "back\\slash"):
        assert printable(name) == name
    assert printable(ODD) == SEEN


@pytest.mark.parametrize("error", [ImageError("no such file", setting=ODD), ConfigError(f"is not {ODD}", got=1)])
def test_errors_are_printable(error: Exception) -> None:
    assert SEEN in str(error)
    assert str(error).isprintable()


def test_a_value_that_was_got_and_the_cell_of_an_error_are_printable() -> None:
    error = ConfigError(setting="data.path", got=ODD)
    error.where = f"typed: data.path={ODD}"
    assert str(error) == f"data.path: got '{SEEN}'; typed: data.path={SEEN}"


def test_the_first_line_of_a_message_is_printable() -> None:
    assert first_line("a\x1b\udcffb\nc") == r"a\x1b\xffb"


@given(NAMES)
def test_a_word_of_a_command_is_printable(word: str) -> None:
    assert printable(quoted(word)) == quoted(word)


def test_a_shell_makes_the_same_words_of_a_command() -> None:
    words = [ODD, "it's", "a\\'b\\\x1b", "$HOME `x` \x01", "é\udcff0", "", "plain"]
    command = f"printf '%s\\0' {' '.join(map(quoted, words))}"
    printed = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    assert [os.fsdecode(word) for word in printed.split(b"\0")[:-1]] == words


def test_a_log_has_printable_names_and_its_own_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    handler.handle(logging.LogRecord("x", logging.INFO, "x", 1, "%s\nnext", ("\x1b\udcff",), None))
    assert stream.getvalue() == "\\x1b\\xff\nnext\n"
