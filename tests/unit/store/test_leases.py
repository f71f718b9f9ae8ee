from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.errors import LeaseError
from dip_stages.store import leases
from dip_stages.store.leases import EXPIRY, Lease, holder
from tests.leasing import end, held_elsewhere
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path


def of_another_machine(folder: Path, age: float) -> Path:
    lease = Lease(folder)
    path = folder / "lease.1"
    values: dict[str, Any] = json.loads(path.read_text()) | {"host": "another boot", "name": "node7"}
    path.write_text(json.dumps(values))
    os.utime(path, (time.time() - age,) * 2)
    del lease
    return path


def test_a_lease_is_one_process_alone_and_goes_when_released(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        assert lease.held()
        found = holder(tmp_path)
        assert found is not None
        assert found[1]
        assert found[0] is not None
        assert found[0].pid == os.getpid()
        with refused(LeaseError, tmp_path.name, problem=f"process {os.getpid()} on"):
            Lease(tmp_path)
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_killed_process_is_dead_even_while_it_is_a_zombie(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path)
    with pytest.raises(LeaseError):
        Lease(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    found = holder(tmp_path)
    assert found is not None
    assert not found[1]
    with Lease(tmp_path) as lease:
        assert (tmp_path / "lease.2").exists()
        assert lease.held()
    assert list(tmp_path.iterdir()) == []
    end(process)


def test_a_process_number_that_is_used_again_is_not_the_holder(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    path = tmp_path / "lease.1"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start": "1"}))
    assert not lease.held()
    Lease(tmp_path)
    assert (tmp_path / "lease.2").exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that move and expire in less than a second."""
    monkeypatch.setattr(leases, "EXPIRY", 0.6)
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)


def test_another_machines_lease_expires_when_it_does_not_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)
    path = of_another_machine(tmp_path, age=0)
    with refused(LeaseError, tmp_path.name, problem="on node7"):
        Lease(tmp_path)
    os.utime(path, (time.time() - EXPIRY - 5,) * 2)
    assert Lease(tmp_path).held()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ahead", [-30.0, 3600.0, 1e7])
def test_whatever_its_clock_says_a_lease_that_does_not_move_expires(tmp_path: Path, ahead: float) -> None:
    of_another_machine(tmp_path, age=-ahead)
    begun = time.monotonic()
    assert Lease(tmp_path).held()
    assert time.monotonic() - begun < 3


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ahead", [-3600.0, -5.0, 5.0, 3600.0])
def test_whatever_its_clock_says_a_lease_that_moves_is_alive(tmp_path: Path, ahead: float) -> None:
    path = of_another_machine(tmp_path, age=-ahead)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            os.utime(path, (time.time() + ahead,) * 2)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with refused(LeaseError, tmp_path.name, problem="on node7"):
            Lease(tmp_path)
        for _ in range(12):  # one who waits sees it move
            found = holder(tmp_path)
            time.sleep(0.1)
        assert found is not None
        assert found[1]
    finally:
        ended.set()
        thread.join()


@pytest.mark.usefixtures("quick")
def test_one_who_waits_for_a_lease_from_the_future_sees_that_it_does_not_move(tmp_path: Path) -> None:
    of_another_machine(tmp_path, age=-3600)
    alive = []
    for _ in range(10):
        found = holder(tmp_path)
        assert found is not None
        alive.append(found[1])
        time.sleep(0.1)
    assert (alive[0], alive[-1]) == (True, False)


def test_a_lease_that_was_taken_over_is_not_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with Lease(tmp_path):
        (tmp_path / "lease.7").write_text("{}")
        time.sleep(0.1)
        os.utime(tmp_path / "lease.1", (0, 0))
        time.sleep(0.1)
        assert (tmp_path / "lease.1").stat().st_mtime == 0


@pytest.mark.parametrize("what", ["a folder", "no JSON", "empty"])
def test_what_is_no_lease_expires_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)
    path = tmp_path / "lease.3"
    path.mkdir() if what == "a folder" else path.write_text("?" if what == "no JSON" else "")
    with refused(LeaseError, tmp_path.name, problem="another process"):
        Lease(tmp_path)
    os.utime(path, (time.time() - EXPIRY - 5,) * 2)
    assert Lease(tmp_path).held()


def test_a_lease_moves_as_long_as_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with Lease(tmp_path):
        path = tmp_path / "lease.1"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_a_holder_that_was_taken_over_writes_nothing_and_leaves_the_new_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)
    with Lease(tmp_path) as slept:
        path = tmp_path / "lease.1"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "another boot"}))
        os.utime(path, (0, 0))
        with Lease(tmp_path) as taker:
            with refused(LeaseError, tmp_path.name, problem="taken over"):
                slept.check()
            slept.__exit__(None, None, None)
            assert taker.held()


def compete(folder: str, start: Any, won: Any) -> None:
    from pathlib import Path

    start.wait()
    try:
        lease = Lease(Path(folder))
    except LeaseError:
        return
    won.put(os.getpid())
    time.sleep(0.3)
    del lease


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children only make files
@pytest.mark.parametrize("after_a_dead_one", [False, True])
def test_of_many_that_ask_at_once_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after_a_dead_one: bool
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.05)
    context = multiprocessing.get_context("fork")
    for turn in range(4):
        folder = tmp_path / str(turn)
        folder.mkdir()
        if after_a_dead_one:
            of_another_machine(folder, age=EXPIRY + 5)
        start, won = context.Event(), context.Queue()
        rivals = [context.Process(target=compete, args=(str(folder), start, won)) for _ in range(6)]
        for rival in rivals:
            rival.start()
        start.set()
        for rival in rivals:
            rival.join()
        assert won.qsize() == 1
        won.close()


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lease(tmp_path / "missing")
    assert holder(tmp_path / "missing") is None


def test_a_file_system_without_hard_links_has_leases_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unable)
    with Lease(tmp_path):
        with pytest.raises(LeaseError):
            Lease(tmp_path)
        with refused(LeaseError, tmp_path.name, problem=f"process {os.getpid()} on"):
            leases._create(tmp_path / "lease.1", "{}")
    assert list(tmp_path.iterdir()) == []
