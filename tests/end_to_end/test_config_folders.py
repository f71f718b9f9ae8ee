"""A folder of one's own configs, with the files and the commands of docs/config_folders.md."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.records import read_record
from tests.lab import CONFIG_FOLDERS, files_of, write_lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

COMMANDS = re.findall(r"^dip-stages (.+)$", CONFIG_FOLDERS.read_text(), re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's files."""
    write_lab(tmp_path, CONFIG_FOLDERS)
    return tmp_path


def test_the_page_has_a_file_of_each_kind() -> None:
    assert [name.split("/")[1] for name in files_of(CONFIG_FOLDERS)] == ["sweep", "preset", "experiment", "arch"]
    assert len(COMMANDS) == 3


def test_a_sweep_of_ones_own_is_planned_with_a_preset_of_ones_own(
    command_in_process: CommandLine, folder: Path
) -> None:
    assert folder.is_dir()
    done = command_in_process(*shlex.split(COMMANDS[0]))
    assert done.returncode == 0, done.stderr
    assert "16 cells: 16 to do" in done.stdout
    assert "iterations" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("to do")]
    assert {"40"} == {row[-3] for row in rows}


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_options_of_ones_own_are_found_in_a_folder_and_on_the_search_path(
    command_in_process: CommandLine, folder: Path, command: str
) -> None:
    done = command_in_process(*shlex.split(command), "trainer.iterations=2", "arch.width=4")
    assert done.returncode == 0, done.stderr
    (record,) = (read_record(path.parent) for path in folder.glob("outputs/single/*/record.json"))
    assert record.config["arch"]["scales"] == 3
    assert record.observation["width"] == 48
    if "experiment" in command:
        assert record.observation["recorruption"]["source"] == "estimate"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("arch=slimm", "arch: got 'slimm' (did you mean slim?)"),
        ("preset=tinny", "preset: got 'tinny' (did you mean tiny?)"),
        ("experiment=blnd", "experiment: got 'blnd' (did you mean blind?)"),
        ("-m sweep=width", "sweep: got 'width' (did you mean widths?)"),
    ],
)
def test_a_mistyped_option_of_ones_own_is_answered_with_it(
    command_in_process: CommandLine, folder: Path, typed: str, sentence: str
) -> None:
    done = command_in_process("--config-dir", str(folder / "my_conf"), *typed.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
