"""What :func:`dip_stages.console.run` does around a command, with commands of a few lines in processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dip_stages import console

ROOT = Path(__file__).resolve().parents[2]
CALL = "import sys; from dip_stages.console import run; sys.exit(run('work', resumes={}))"
KILL = "import atexit, os, signal, sys, threading, time\nkill = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
LINE = "interrupted; to resume:\n  python -m work 'two words'\n"


def run(
    folder: Path, work: str, redirected: str = "", *, resumes: str = "True", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a module as a command, its streams redirected as a shell is told to."""
    (folder / "work.py").write_text(work, encoding="utf-8")
    command = [sys.executable, "-c", CALL.format(resumes), "two words"]
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(command)} {redirected}"],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("work", "code", "message"),
    [
        pytest.param("kill()\ndef main(): ...", 130, LINE, id="in an import"),
        pytest.param(
            "sys.modules.update(dict.fromkeys(('re', 'shlex', 'signal')))\nkill()\ndef main(): ...",
            130,
            LINE,
            id="in an import of what a handler might import",
        ),
        pytest.param("def main(): kill(); time.sleep(9)", 130, LINE, id="in the work"),
        pytest.param("def main(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, LINE, id="SIGTERM"),
        pytest.param(
            "def main():\n try: kill(); time.sleep(9)\n except BaseException: raise ImportError('no numpy')",
            130,
            LINE,
            id="that a library takes for an error",
        ),
        pytest.param(
            "def main():\n try: kill(); time.sleep(9)\n except BaseException: sys.exit(1)",
            130,
            LINE,
            id="that a library ends the process for",
        ),
        pytest.param(
            "class Dies:\n def __del__(self): kill(); time.sleep(1)\ndef main(): Dies(); time.sleep(9)",
            130,
            LINE,
            id="in a destructor",
        ),
        pytest.param(
            "def main():\n try: kill(); time.sleep(9)\n finally: kill(); time.sleep(9)", 130, LINE, id="twice"
        ),
        pytest.param(
            "from dip_stages import console\nwrite = console.write_in_handler\n"
            "def twice(text): write(text); kill(); time.sleep(.1)\n"
            "def main(): console.write_in_handler = twice; kill(); time.sleep(9)",
            130,
            LINE,
            id="twice, while the line is written",
        ),
        pytest.param(
            "def main(): threading.Thread(target=lambda: (time.sleep(.3), kill(), time.sleep(9))).start()",
            0,
            "",
            id="when the work is done, and a thread is waited for",
        ),
        pytest.param("def main(): atexit.register(lambda: (kill(), time.sleep(9)))", 0, "", id="in an exit function"),
        pytest.param("def main(): sys.exit('no such thing')", 1, "no such thing\n", id="none, but an error"),
    ],
)
def test_an_interruption_at_any_instant_is_one_line(tmp_path: Path, work: str, code: int, message: str) -> None:
    done = run(tmp_path, KILL + work)
    assert (done.returncode, done.stderr) == (code, message)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("kill()\ndef main(): ...", "interrupted\n"),
        ("def main(): kill(); time.sleep(9)", "interrupted\n"),
        (
            "from dip_stages import console\ndef main(): console.note_kept(lambda: 0); kill(); time.sleep(9)",
            "interrupted\n",
        ),
        ("from dip_stages import console\ndef main(): console.note_kept(lambda: 1); kill(); time.sleep(9)", LINE),
    ],
)
def test_a_command_that_has_kept_nothing_yet_does_not_promise_to_resume(
    tmp_path: Path, work: str, message: str
) -> None:
    done = run(tmp_path, KILL + work, resumes="False")
    assert (done.returncode, done.stderr) == (130, message)


@pytest.mark.parametrize("redirected", ["| true", ">&-", "2>&-", "2>&1 | true", ">&- 2>&-", "<&- >&- 2>&-"])
def test_the_work_continues_to_its_end_where_nobody_reads(tmp_path: Path, redirected: str) -> None:
    done = run(
        tmp_path,
        "import subprocess, sys, time, os\n"
        "def main():\n"
        " for _ in range(3): time.sleep(.1); print('x' * 9999, flush=True); print('y', file=sys.stderr)\n"
        " subprocess.run(['echo', 'z'], check='&-' in os.environ['REDIRECTED'])\n"
        " open('file', 'w').write('whole')\n"
        " sys.exit(7)\n",
        redirected,
        REDIRECTED=redirected,
    )
    assert done.returncode == 7, done.stderr
    assert "Error" not in done.stderr
    assert (tmp_path / "file").read_text() == "whole", "and no output is in it"


def test_a_full_standard_output_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "def main(): print('x' * 99999); print('y')", "> /dev/full")
    assert done.returncode == 1
    assert done.stderr == "the standard output cannot be written to: No space left on device\n"


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
    ],
    ids=["latin-1", "ascii", "no UTF-8 mode"],
)
def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path, locale: dict[str, str]) -> None:
    done = run(tmp_path, "import sys\ndef main(): print('\u03c3 \u2013'); print('\u2500', file=sys.stderr)", **locale)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u03c3 \\u2013\n", "\\u2500\n")


def test_it_imports_next_to_nothing_before_ctrl_c_is_handled() -> None:
    code = "import sys; before = set(sys.modules); import dip_stages.console; print(*(set(sys.modules) - before))"
    new = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "dip_stages.console" in new
    assert not {"typing", "re", "enum", "signal", "pathlib", "importlib.metadata", "numpy", "hydra"} & set(new)


def test_a_library_keeps_signal_handlers_and_streams() -> None:
    code = (
        "import signal, sys\n"
        "seen = lambda: (*map(signal.getsignal, (2, 14, 15)), sys.stdout, sys.stderr, sys.unraisablehook)\n"
        "before = seen()\n"
        "import dip_stages, dip_stages.cli, dip_stages.denoise, dip_stages.status, dip_stages.train\n"
        "import dip_stages.images.sources, dip_stages.workers.fork_client, dip_stages.report.__main__\n"
        "assert seen() == before and dip_stages.__version__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("started", "path", "shown"),
    [
        ("/x/dip_stages/__main__.py", "", "python -m dip_stages.status a 'b c'"),
        ("{bin}/dip-stages-status", "{bin}", "dip-stages-status a 'b c'"),
        ("{bin}/dip-stages", "{bin}", "dip-stages-status a 'b c'"),
        ("{bin}/dip-stages-status", "/elsewhere", "'{bin}/dip-stages-status' a 'b c'"),
    ],
)
def test_a_command_is_shown_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, path: str, shown: str
) -> None:
    scripts = tmp_path / "of a project"
    scripts.mkdir()
    (scripts / "dip-stages-status").touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [started.format(bin=scripts), "a", "b c"])
    monkeypatch.setenv("PATH", path.format(bin=scripts))
    assert console.command("dip_stages.status") == shown.format(bin=scripts)


@pytest.mark.parametrize(
    "word", ["", "a", "seed=0,1", "a b", "it's", "[{a: b}]", "ü.png", "$HOME", "~/a", "@%+=:,./-_"]
)
def test_words_are_quoted_as_the_standard_library_does(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(sys, "argv", ["x", word])
    assert console.command() == f"python -m dip_stages {shlex.quote(word)}"


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    work = KILL + "def main(): kill(); time.sleep(.1); print(signal.getsignal(2) == signal.SIG_IGN)"
    (tmp_path / "work.py").write_text(work)
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(True)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n")
