"""What a command does around its work: the standard streams, Ctrl-C, the exit code. Torch-free.

Only :func:`run` changes the process, so a library's user keeps signal handlers and streams. It imports next to nothing:
until it has begun, Ctrl-C is Python's own, which is a traceback.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys

TYPE_CHECKING = False  # the module typing takes longer to import than all others here
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn
else:
    import _signal as signal  # without its names as an Enum, which take as long to import as Python takes to start

__all__ = [
    "before_exit", "command", "leave", "note", "note_end", "note_kept", "program", "quoted", "run", "unread",
    "use_safe_streams", "write_in_handler",
]  # fmt: skip

before_exit: list[Callable[[], None]] = []
"""Called by :func:`leave`, which runs no ``finally``; in a signal handler, so they may wait for nothing."""


def run(module: str, *, safe_path: bool = False, resumes: bool = True) -> int:
    """Run the function ``main`` of a module as a command.

    Output that a stream cannot encode is escaped. Where a reader leaves, the work continues. An interruption that the
    command does not handle itself is one line, with the command that resumes if anything is kept.

    Args:
        module: The module, imported only here.
        safe_path: Whether child processes leave the current folder out of their path, as a script does by itself.
        resumes: Whether something is kept to resume from at any time; if not, once :func:`note_kept` was called.

    Returns:
        The exit code: that of the command; 1 if its output could not be written; 128 and the signal's number after an
        interruption.
    """
    try:
        _interruption.begin(module.removesuffix(".__main__").removesuffix(".cli"), resumes)
        use_safe_streams()
        if safe_path or sys.flags.safe_path:
            os.environ["PYTHONSAFEPATH"] = "1"
        code = _flushed(_code_of(module))
        if _interruption.raised and code != 128 + _interruption.number:  # a library took it for something else
            code = _interruption.noted()
        _interruption.ended = code
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, Exception) and not _interruption.number:
            raise
        code = _interruption.noted()
    return code


def _code_of(module: str) -> int:
    import importlib

    try:
        importlib.import_module(module).main()
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        sys.stderr.write(f"{left.code}\n")
        return 1
    return 0


def _flushed(code: int) -> int:
    sys.stdout.flush()
    if (error := _error_of(sys.stdout)) is not None and error.errno != errno.EPIPE:
        sys.stderr.write(f"the standard output cannot be written to: {error.strerror}\n")
        code = code or 1
    sys.stderr.flush()
    return code


class _Interruption:
    """The interruption of this process, if there was one; handles SIGINT and SIGTERM until something else does.

    Attributes:
        number: The signal that has come; 0 before.
        raised: Whether the handler here has raised :class:`KeyboardInterrupt` for it.
        ended: The exit code of the work, once it has ended.
        typed: The arguments of the command, as they were typed; None where :func:`run` did not start it.
        kept: Returns whether anything is kept to resume from.
    """

    def __init__(self) -> None:
        self.number, self.raised = 0, False
        self.ended: int | None = None
        self.typed: list[str] | None = None
        self.kept: Callable[[], bool] = lambda: True
        self._module, self._message_is_out = "dip_stages", False

    def begin(self, module: str, resumes: bool) -> None:
        self._module, self.typed, self.kept = module, sys.argv[1:], lambda: resumes
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's & leave it
                signal.signal(number, self._on_signal)
        sys.unraisablehook = self._on_unraisable
        atexit.register(_ignore_signals)  # the first one registered is the last one called

    def noted(self) -> int:
        """Print the interruption and the command that resumes, unless that was done, and return the exit code."""
        # A second signal must neither cut the message nor repeat it.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        if not self._message_is_out:
            to_resume = f"; to resume:\n  {command(self._module)}" if self.kept() else ""
            write_in_handler(f"interrupted{to_resume}\n")
            self._message_is_out = True
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return 128 + (self.number or signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.ended is not None:
            leave(self.ended)
        again, self.number = self.number, number
        # An exception in an import can be taken for a missing package, or abort in C++.
        if again or _imports(frame):
            leave(self.noted())
        self.raised = True
        raise KeyboardInterrupt

    def _on_unraisable(self, unraisable: Any) -> None:
        if self.raised:  # in a destructor, where it would be printed and forgotten
            leave(self.noted())
        sys.__unraisablehook__(unraisable)


def _ignore_signals() -> None:
    """Keep the exit code: the interpreter, where it ends, lets a signal that it handles kill it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


_interruption = _Interruption()


def note(number: int) -> None:
    """Note a signal that another handler has got, for the exit code."""
    _interruption.number = number


def note_end(code: int) -> int:
    """Note that the work has ended, and return its exit code, which later signals do not change."""
    _interruption.ended = code
    return code


def note_kept(kept: Callable[[], bool]) -> None:
    """Note how to find out, in a signal handler, whether anything is kept to resume from."""
    _interruption.kept = kept


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def leave(code: int) -> NoReturn:
    """End this process at once, from a signal handler; nothing half-written stays."""
    for act in before_exit:
        act()
    os._exit(code)


def write_in_handler(text: str) -> None:
    """Write to the standard error from a signal handler, which may have come in the middle of such a write."""
    if os.isatty(2):
        text = f"\x1b[?25h\n{text}"  # a progress bar has hidden the cursor, and ^C is on the line
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except RuntimeError:  # a call inside a call
        _Descriptor(2, "w", closefd=False).write(text.encode(errors="backslashreplace"))


class _Descriptor(io.FileIO):
    """An open descriptor; what it does not take is lost, and its writer does not notice.

    Attributes:
        error: Why it took no more; None as long as it does.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, to the null device after the first error."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(data)


def use_safe_streams() -> None:
    """Let the standard output and error escape what they cannot encode, and ignore that a reader has left or is none.

    A closed descriptor becomes the null device's: the next file that is opened would get its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _safe(1, sys.stdout), _safe(2, sys.stderr)


def _safe(number: int, stream: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=number == 2 or getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def unread() -> bool:
    """Return whether the reader of the standard output was found to have left."""
    return _error_of(sys.stdout) is not None


def _error_of(stream: Any) -> OSError | None:
    error: OSError | None = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "error", None)
    return error


def program(module: str = "dip_stages") -> str:
    """Return how a command is started, for people: by a script if this process was started by one.

    Example:
        >>> program("dip_stages.status")
        'python -m dip_stages.status'
    """
    folder, started = os.path.split(sys.argv[0])
    if not started.startswith("dip-stages"):
        return f"python -m {module}"
    script = module.replace("_", "-").replace(".", "-")
    on_path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    first = next((place for place in on_path if os.access(f"{place}/{script}", os.X_OK)), None)
    return script if first == folder else quoted(f"{folder}/{script}")


def command(module: str = "dip_stages") -> str:
    """Return the command that this process was started with, as it was typed, as a line for a shell."""
    typed = sys.argv[1:] if _interruption.typed is None else _interruption.typed
    return " ".join([program(module), *map(quoted, typed)])


def quoted(word: str) -> str:
    """Return a word for a shell, printable: bash, zsh and ksh know ``$'…'``. A signal handler can import no shlex."""
    if word and all(letter.isascii() and (letter.isalnum() or letter in "@%+=:,./-_") for letter in word):
        return word
    if word.isprintable():
        return "'" + word.replace("'", "'\"'\"'") + "'"
    escaped = word.replace("\\", r"\\").replace("'", r"\'")
    bytes_of = {c: "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in escaped if not c.isprintable()}
    return "$'" + "".join(bytes_of.get(c, c) for c in escaped) + "'"


def dip_stages() -> int:
    """Run the script ``dip-stages``."""
    return run("dip_stages.cli", safe_path=True)


def denoise() -> int:
    """Run the script ``dip-stages-denoise``."""
    return run("dip_stages.denoise", safe_path=True, resumes=False)


def report() -> int:
    """Run the script ``dip-stages-report``."""
    return run("dip_stages.report.__main__", safe_path=True)


def status() -> int:
    """Run the script ``dip-stages-status``."""
    return run("dip_stages.status", safe_path=True)


def train() -> int:
    """Run the script ``dip-stages-train``."""
    return run("dip_stages.train", safe_path=True)
