from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING

import pytest

from dip_stages.cells.denoising import OVERLAP, TILE
from dip_stages.config import denoise_arguments
from dip_stages.config.denoise_arguments import to_type
from dip_stages.errors import ConfigError
from dip_stages.images.encoding import ENDINGS

if TYPE_CHECKING:
    from pathlib import Path

parse_arguments = partial(denoise_arguments.parse_arguments, tile=TILE, overlap=OVERLAP)

TYPE = "to type: python -m dip_stages.denoise"


@pytest.fixture(autouse=True)
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dip_stages/denoise.py"])
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (
            "a.png sigma=0.1 --tile 64",
            f"the output is missing; {TYPE} a.png a-denoised.png sigma=0.1 --tile 64",
        ),
        ("sub/a.gif", f"the output is missing; {TYPE} sub/a.gif sub/a-denoised.png"),
        (".", f"the output is missing; {TYPE} . image-denoised.png"),
        (
            "sigma=0.1 a.png b.png --range -1e3 2.5 --force",
            f"the settings come after the input and the output; {TYPE} a.png b.png sigma=0.1 --force --range -1000 2.5",
        ),
        (
            "a.png b.png c.png --tile 64",
            f"there is more than one input and one output; {TYPE} a.png b.png --tile 64",
        ),
        *(
            (f"a.png b.png {spaced}", f"a setting has no spaces around its =; {TYPE} a.png b.png {joined}")
            for spaced, joined in (
                ("sigma= 0.1", "sigma=0.1"),
                ("sigma =0.1", "sigma=0.1"),
                ("sigma = 0.1", "sigma=0.1"),
                ("seed=1 arch.width = 8 --tile 64", "seed=1 arch.width=8 --tile 64"),
            )
        ),
        (
            "a.png o=1.png",
            f"o=1.png is taken for a setting; for a file of this name, {TYPE} a.png ./o=1.png",
        ),
        (
            "sub/a=b.TIF o=1.png seed=3",
            f"sub/a=b.TIF is taken for a setting; for a file of this name, {TYPE} ./sub/a=b.TIF ./o=1.png seed=3",
        ),
    ],
)  # fmt: skip
def test_what_is_misplaced_is_put_right(typed: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_arguments(shlex.split(typed))
    assert str(refusal.value) == problem
    _, _, command = problem.partition(f"{TYPE} ")
    given = parse_arguments(shlex.split(command))  # it can be pasted
    assert to_type(given, given.input, given.output) == f"{TYPE} {command}"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("--sigma 0.1", "--sigma: no such option, but a setting; to type: sigma=0.1"),
        ("--sigma=0.1", "--sigma: no such option, but a setting; to type: sigma=0.1"),
        ("-seed 3", "-seed: no such option, but a setting; to type: seed=3"),
        ("--trainer.lr 7", "--trainer.lr: no such option, but a setting; to type: trainer.lr=7"),
        ("--method", "--method: no such option, but a setting; to type: method=…"),
        ("--sgima 0.1", "--sgima: no such option; did you mean the setting sigma=…?"),
        ("--qualty 4", "--qualty: no such option; did you mean --quality?"),
        ("--frmae=4", "--frmae: no such option; did you mean --frame?"),
        ("-f", "-f: no such option; to type: --force"),
        ("-q 90", "-q: no such option; to type: --quality"),
        ("-o c.png", "-o: no such option; input and output are typed without one, in this order"),
        ("-o.png", "-o.png: no such option; a file of this name: ./-o.png"),
        ("-x", "-x: no such option; allowed: --force, --tile, --overlap, --range, --frame, --quality"),
    ],
)  # fmt: skip
def test_what_is_no_option_is_answered_with_what_is_meant(typed: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_arguments(["a.png", "b.png", *shlex.split(typed)])
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("--tile big", "--tile: got 'big'; allowed: a whole number\n"),
        ("--range 0 x", "--range: got 'x'; allowed: a number\n"),
        ("--range 0", "--range: expected 2 arguments; to type: --range BLACK WHITE\n"),
        ("--tile", "--tile: expected one argument; to type: --tile N\n"),
    ],
)
def test_the_value_of_an_option_is_a_number(typed: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_arguments(["a.png", "b.png", *shlex.split(typed)])
    assert (left.value.code, capsys.readouterr().err) == (2, sentence)


def test_files_of_any_name_and_any_number_are_taken(tmp_path: Path) -> None:
    (tmp_path / "o=1.png").touch()  # a file that is there is no setting
    given = parse_arguments(["o=1.png", "./p=1.png", f"a={'x' * 300}", "--range", "-1.38e+06", "-.5"])
    assert [str(given.input), str(given.output), given.range] == ["o=1.png", "p=1.png", [-1.38e6, -0.5]]
    assert given.settings == [f"a={'x' * 300}"]
    given = parse_arguments(["--force", "--", "-a.png", "--tile.png"])
    assert [str(given.input), str(given.output), given.force] == ["-a.png", "--tile.png", True]
    assert to_type(given, given.input, given.output) == f"{TYPE} ./-a.png ./--tile.png --force"


def test_the_help_fits_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 40
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(
        part in text for part in (" ".join(ENDINGS), "the\nsame command resumes", "(default 512)", "(default 97 ")
    )
    example = text.splitlines()[-1].strip()
    assert parse_arguments(shlex.split(example)[3:]).settings == ["sigma=25/255"]
