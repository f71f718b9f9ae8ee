"""Workers forked from a process that has imported what they need; all processes here are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dip_stages
from dip_stages.store.records import CHECKPOINT, read_record
from dip_stages.store.states import look
from dip_stages.workers.fork_client import ForkServer
from dip_stages.workers.forked_process import UNKNOWN, ForkedProcess
from dip_stages.workers.jobs import Job
from dip_stages.workers.process import Worker
from tests.cluster.sweeps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeCell

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LONG = ("trainer.iterations=100000", "trainer.chunk=2", "runtime.threads=1", "runtime.checkpoint_every=0")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(ENVIRONMENT)
    yield server
    server.close()


def ended(process: ForkedProcess) -> int:
    """Close the input of a worker, so that it ends, and return its exit code."""
    process.stdin.close()
    code = process.wait(10)
    process.stdout.close()
    return code


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_worker_is_a_child_of_the_server_with_a_session_environment_and_folder_of_its_own(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    process = server.start({**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "7"}, 1)
    until(lambda: process.pid, "the start")
    assert parent_of(process.pid) == server.pid
    until(lambda: os.getsid(process.pid) == process.pid, "the session")
    until(lambda: Path(f"/proc/{process.pid}/cwd").resolve() == tmp_path, "the folder")
    assert process.poll() is None
    assert ended(process) == 0


def test_what_has_been_imported_leaves_one_thread_and_one_copy_of_each_pipe(server: ForkServer) -> None:
    processes = [server.start(ENVIRONMENT, 1) for _ in range(3)]
    until(lambda: all(process.pid for process in processes), "the start")
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
    processes[0].stdin.close()
    assert processes[0].wait(10) == 0, "no later worker has the other end of its input"
    assert processes[0].stdout.read() == ""
    processes[0].stdout.close()
    assert [ended(process) for process in processes[1:]] == [0, 0]


@pytest.mark.slow
def test_importing_what_a_cell_needs_asks_no_gpu_for_anything() -> None:
    code = (
        "import torch\n"
        "def touched(*_, **__): raise AssertionError('a GPU was touched')\n"
        "names = ('init', '_lazy_init', 'is_available', 'device_count', 'current_device', 'get_device_properties')\n"
        "for name in names: setattr(torch.cuda, name, touched)\n"
        "from dip_stages.workers.main import import_all\n"
        "import_all()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_the_signal_that_killed_a_worker_is_known(server: ForkServer, number: signal.Signals) -> None:
    process = server.start(ENVIRONMENT, 1)
    until(lambda: process.pid, "the start")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(number)
    assert process.wait(10) == process.poll() == -number
    process.send_signal(number)  # there is no such process any more
    process.kill()
    assert ended(process) == -number


def test_a_worker_that_is_asked_for_while_the_server_imports_can_be_given_up_at_once() -> None:
    server = ForkServer(ENVIRONMENT)
    process = server.start(ENVIRONMENT, 1)
    begun = time.monotonic()
    assert (process.pid, process.poll()) == (0, None)
    process.kill()
    assert process.wait() == UNKNOWN
    assert time.monotonic() - begun < 1
    assert server.ended
    assert ended(server.start(ENVIRONMENT, 1)) == UNKNOWN, "nothing waits for what will not come"
    assert ended(process) == UNKNOWN
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["2", None])
def test_workers_are_forked_whatever_their_number_of_threads(threads: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"OMP_NUM_THREADS": threads} if threads else {}
    server = ForkServer(environment)
    process = server.start(environment, 1)
    until(lambda: process.pid, "the start")
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
    assert b"dip_stages.workers.fork_server" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert ended(process) == 0
    server.close()


@pytest.mark.slow
def test_where_an_import_leaves_a_thread_workers_are_started_and_not_forked(tmp_path: Path) -> None:
    """A fork would not have that thread."""
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), str(Path(dip_stages.__file__).parents[1])])
    server = ForkServer({**ENVIRONMENT, "PYTHONPATH": path})
    process = server.start(ENVIRONMENT, 1)
    until(lambda: process.pid, "the start")
    assert parent_of(process.pid) == server.pid
    assert b"dip_stages.workers.main" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert ended(process) == 0
    server.close()


@pytest.mark.slow
def test_a_start_that_fails_costs_the_server_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = ForkServer(ENVIRONMENT)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    failing = server.start(ENVIRONMENT, 1)
    (tmp_path / "gone").rmdir()
    monkeypatch.chdir(tmp_path)
    assert ended(failing) not in (0, UNKNOWN), "there is no such folder"
    assert ended(server.start(ENVIRONMENT, 1)) == 0
    assert not server.ended
    server.close()


@pytest.mark.slow
def test_workers_outlive_a_server_that_is_killed_and_the_next_one_has_a_new_server(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    job = Job.of(make_cell(*LONG), tmp_path)
    worker = Worker()
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(worker.run(job)))
    thread.start()
    until((tmp_path / CHECKPOINT).exists, "a checkpoint")
    before = parent_of(worker.pid)
    os.kill(before, signal.SIGKILL)
    until(lambda: parent_of(worker.pid) != before, "the server's end")
    assert worker.usable
    assert look(tmp_path).state == "running"
    os.kill(worker.pid, signal.SIGKILL)
    thread.join()
    worker.close()
    record = read_record(tmp_path)
    assert record.lost
    assert record.error is not None
    assert record.error["type"] == "ExitedError"
    other = Worker()
    until(lambda: other.pid, "the next worker")
    assert parent_of(other.pid) not in (before, os.getpid())
    other.close()
