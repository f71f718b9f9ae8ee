from __future__ import annotations

import dataclasses
import os
import re
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dip_stages import console
from dip_stages.cells import blind_fit
from dip_stages.cells.denoising import denoise
from dip_stages.cells.denoising_job import job_of
from dip_stages.cells.work_folder import WorkFolder, check_free
from dip_stages.errors import ConfigError, DipStagesError, ImageError, Interrupted, LeaseError, RecordError
from dip_stages.store import checkpoints
from tests.leasing import end, held_elsewhere
from tests.raising import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dip_stages.config import Config
    from tests.conftest import MakeCell

    Report = tuple[int, int, int]

TILES: dict[str, Any] = {"sigma": 0.1, "tile": 64, "overlap": 16}
IMAGE = np.random.default_rng(0).normal(0.5, 0.1, (80, 80, 3)).astype(np.float32)
PLANNED = 16
"""Iterations of a tile: two members of eight, in chunks of four."""


class KilledError(BaseException):
    """As a kill, it leaves no checkpoint."""


@pytest.fixture(scope="module")
def config(make_cell: MakeCell) -> Config:
    members = ("ensemble.members=2", "trainer.iterations=8", "trainer.chunk=4", "arch.scales=2")
    return make_cell("protocol=recorrupted", *members, "runtime.checkpoint_every=0").config


@pytest.fixture(scope="module")
def expected(config: Config) -> NDArray[np.float32]:
    return denoise(IMAGE, config, **TILES)


class Job:
    """The job of an image in four tiles, run until it is disturbed."""

    def __init__(self, config: Config, output: Path) -> None:
        self.config, self.output = config, output
        self.notes: list[str] = []
        self.reports: list[Report] = []

    @property
    def path(self) -> Path:
        return self.output.with_name("b.png.work")

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []

    def with_runtime(self, **settings: Any) -> Job:
        return Job(dataclasses.replace(self.config, runtime=self.config.runtime.__class__(**settings)), self.output)

    def folder(self, *, force: bool = False, **unlike: Any) -> WorkFolder:
        job = job_of(self.config, **{**TILES, **unlike})
        return WorkFolder(self.output, job, force=force, note=self.notes.append)

    def run(self, disturb: Callable[[Report], None] = lambda _: None, *, force: bool = False) -> NDArray[np.float32]:
        """Run to the end; ``disturb`` gets every report of progress."""
        self.notes, self.reports = [], []

        def progress(*how_far: int) -> None:
            tile, iteration, planned = how_far
            self.reports.append((tile, iteration, planned))
            disturb(self.reports[-1])

        with self.folder(force=force) as work:
            result = denoise(IMAGE, self.config, progress=progress, work=work, **TILES)
            work.draft.write_bytes(b"written")
            work.finish()
        return result

    def disturbed(
        self, tile: int, iteration: int, error: type[BaseException] = KilledError, *, of: int = PLANNED
    ) -> None:
        def disturb(report: Report) -> None:
            if report == (tile, iteration, of):
                raise error("in a test")

        with pytest.raises(Interrupted if error is KeyboardInterrupt else error):
            self.run(disturb)


@pytest.fixture
def job(config: Config, tmp_path: Path) -> Job:
    return Job(config, tmp_path / "b.png")


@pytest.fixture
def quick(make_cell: MakeCell, tmp_path: Path) -> Job:
    """A job without fits."""
    return Job(make_cell("method=tv").config, tmp_path / "b.png")


@pytest.mark.parametrize(
    ("tile", "iteration", "kept", "first"),
    [
        (1, 4, [], (1, 4)),  # nothing is kept yet
        (1, 8, ["tile-1.fits.pt"], (1, 8)),
        (1, 12, ["tile-1.fits.pt"], (1, 12)),  # the first member is done
        (2, 16, ["tile-1.pt", "tile-2.fits.pt"], (2, 16)),
        (4, 4, ["tile-1.pt", "tile-2.pt", "tile-3.pt"], (4, 4)),
    ],
)
def test_a_killed_job_resumes_from_what_is_kept_to_the_same_bits(
    job: Job, expected: NDArray[np.float32], tile: int, iteration: int, kept: list[str], first: tuple[int, int]
) -> None:
    job.disturbed(tile, iteration)
    assert job.files == sorted([*kept, "job.json"] if kept else [])
    assert console._interruption.kept() == bool(kept), "and an interruption says so"
    assert (job.run() == expected).all()
    assert job.reports[0][:2] == first
    assert not job.path.exists()
    assert job.output.read_bytes() == b"written"


def test_a_job_that_is_killed_again_and_again_ends_with_the_same_bits(job: Job, expected: NDArray[np.float32]) -> None:
    for tile, iteration in ((1, 12), (1, 16), (3, 8), (3, 12), (4, 16)):
        job.disturbed(tile, iteration)
    assert job.notes == ["resumed: 2 of 4 tiles done, tile 3 resumes at iteration 8"]
    assert (job.run() == expected).all()
    assert job.notes == ["resumed: 3 of 4 tiles done, tile 4 resumes at iteration 12"]


@pytest.mark.parametrize(("error", "together"), [(KeyboardInterrupt, 1), (Interrupted, 2)])
def test_an_interruption_leaves_a_checkpoint_however_seldom_one_is_due(
    job: Job, expected: NDArray[np.float32], error: type[BaseException], together: int
) -> None:
    job = job.with_runtime(checkpoint_every=None, members_together=together)
    job.disturbed(2, 12, error)
    assert job.files == ["job.json", "tile-1.pt", "tile-2.fits.pt"]
    assert (job.run() == expected).all()
    assert len(job.notes) == 1
    # Of fits side by side, the other one may have done its last iterations meanwhile.
    assert re.fullmatch(r"resumed: 1 of 4 tiles done, tile 2 resumes at iteration (12|16)", job.notes[0])


def test_sigterm_leaves_one_too(job: Job, expected: NDArray[np.float32]) -> None:
    def terminate(report: Report) -> None:
        if report == (1, 12, PLANNED):
            signal.raise_signal(signal.SIGTERM)

    job = job.with_runtime(checkpoint_every=None)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(Interrupted, match="SIGTERM"):
            job.run(terminate)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (job.run() == expected).all()
    assert job.notes == ["resumed: 0 of 4 tiles done, tile 1 resumes at iteration 12"]


def test_an_interruption_while_a_tile_is_kept_costs_no_iteration(
    job: Job, expected: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(*_: object) -> None:
        raise KeyboardInterrupt

    job = job.with_runtime(checkpoint_every=None)
    with monkeypatch.context() as patch:
        patch.setattr("dip_stages.cells.kept_tile.KeptTile.keep", struck)
        with pytest.raises(KeyboardInterrupt):
            job.run()
    assert (job.run() == expected).all()
    assert job.reports[0] == (2, 4, PLANNED)


@pytest.mark.parametrize("name", ["tile-1.pt", "tile-2.fits.pt"])
def test_what_is_damaged_is_computed_again(job: Job, expected: NDArray[np.float32], name: str) -> None:
    job.disturbed(2, 12)
    path = job.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert (job.run() == expected).all()
    assert sum("its checksum is not that of its content; computed again" in note for note in job.notes) == 1
    assert job.reports[0] == (1 if name == "tile-1.pt" else 2, 4, PLANNED)


def test_a_job_of_other_code_starts_again(
    job: Job, expected: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    job.disturbed(3, 12)
    monkeypatch.setattr(blind_fit, "fingerprint", lambda: "other")
    job.disturbed(1, 8)
    assert job.notes == [f"{job.path}: made with other code; removed, the job starts again"]
    assert job.files == ["job.json", "tile-1.fits.pt"]
    assert (job.run() == expected).all()
    assert job.notes == ["resumed: 0 of 4 tiles done, tile 1 resumes at iteration 4"]


def test_a_full_disk_costs_what_is_kept_and_not_the_job(
    job: Job, expected: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_state", full)
    assert (job.run() == expected).all()
    assert job.notes == [f"{job.path}: what is done cannot be kept: No space left on device"]
    assert not job.path.exists()


def test_a_folder_that_somebody_removes_costs_what_is_kept_and_not_the_job(
    job: Job, expected: NDArray[np.float32]
) -> None:
    def removed(report: Report) -> None:
        if report == (2, 12, PLANNED):
            job.path.rename(job.path.with_name("moved"))

    assert (job.run(removed) == expected).all()
    assert sorted(path.name for path in job.output.parent.iterdir()) == ["b.png", "moved"]
    assert job.notes == [f"{job.path}: what is done cannot be kept: No such file or directory"]


def test_a_competitor_keeps_its_tiles(quick: Job) -> None:
    quick.disturbed(3, 1, of=1)
    assert quick.files == ["job.json", "tile-1.pt", "tile-2.pt"]
    assert (quick.run() == denoise(IMAGE, quick.config, **TILES)).all()
    assert quick.reports == [(3, 1, 1), (4, 1, 1)]
    assert quick.notes == ["resumed: 2 of 4 tiles done"]


def test_a_kill_between_output_and_removal_costs_no_iteration(job: Job, expected: NDArray[np.float32]) -> None:
    with job.folder() as work:
        denoise(IMAGE, job.config, work=work, **TILES)
        job.output.write_bytes(b"written")
    assert (job.run() == expected).all()
    assert (job.notes, job.reports) == (["resumed: 4 of 4 tiles done"], [])
    assert not job.path.exists()


def test_the_folder_of_another_job_is_kept_unless_forced(
    job: Job, make_cell: MakeCell, expected: NDArray[np.float32]
) -> None:
    job.disturbed(2, 4)
    kept = job.files
    with (
        refused(
            ConfigError, job.path, names=("--force",), problem="is of another job: --tile 64 there, --tile 96 here"
        ),
        job.folder(tile=96),
    ):
        pass
    other = dataclasses.replace(job.config, data=make_cell("data.name=camera").config.data, seed=3)
    with refused(ConfigError, job.path, problem="another image"), Job(other, job.output).folder():
        pass
    assert job.files == kept
    with job.folder(force=True):  # this job's own is resumed
        assert job.files == [*kept[:1], "lease.1", *kept[1:]]
    with job.folder(force=True, tile=96):
        assert job.files == ["lease.1"]
    assert not job.path.exists()
    assert (job.run() == expected).all()


def _removed_as_told(error: DipStagesError) -> None:
    """Type the command that removes what an error is about."""
    assert error.allowed
    subprocess.run(re.findall(r"rm -r [^,]+", error.allowed)[0], shell=True, check=True)  # noqa: S602 - of an error


@pytest.mark.parametrize("text", ["{", '{"job": {}}\n', "[]", None])
def test_a_damaged_job_file_is_nobodys_until_it_is_removed_or_forced(
    config: Config, tmp_path: Path, text: str | None
) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    job = Job(config, folder / "b.png")
    job.disturbed(2, 4)
    path = job.path / "job.json"
    path.unlink()
    path.mkdir() if text is None else path.write_text(text)
    with refused(RecordError, path, names=("--force", "rm -r ")) as refusal, job.folder():
        pass
    with job.folder(force=True):
        assert job.files == ["lease.1"]
    job.path.mkdir()
    path.write_text("{")
    _removed_as_told(refusal.value)
    with job.folder():
        pass


def test_an_output_that_is_there_is_an_error_unless_forced(job: Job) -> None:
    job.disturbed(2, 4)
    job.output.write_bytes(b"older")
    check_free(job.output, force=False)  # it may be that the job is this one
    with refused(ImageError, job.output, names=("--force",), problem="is there already"), job.folder(tile=96):
        pass
    with job.folder(tile=96, force=True):
        pass
    for act in (lambda: check_free(job.output, force=False), job.folder().__enter__):
        with refused(ImageError, job.output, names=("--force",), problem="is there already"):
            act()
    check_free(job.output, force=True)
    assert job.output.read_bytes() == b"older"


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("appear", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_an_output_that_appears_during_the_job_is_kept_and_so_is_what_is_done(
    quick: Job, appear: Callable[[Path], None], tile: int
) -> None:
    def disturb(report: Report) -> None:
        if report == (tile, 1, 1):
            appear(quick.output)

    problem = f"has appeared since this job began; what is done is kept in {quick.path}"
    with refused(ImageError, quick.output, problem=problem, names=("--force", "moved away")):
        quick.run(disturb)
    assert os.path.lexists(quick.output)
    assert not quick.output.is_file() or not quick.output.read_bytes()
    assert quick.files == ["job.json", *(f"tile-{number}.pt" for number in range(1, 5))]
    quick.output.rename(quick.output.with_name("moved"))
    quick.run()
    assert quick.reports == []
    assert quick.output.read_bytes() == b"written"
    assert not quick.path.exists()


def test_one_that_appears_before_a_job_resumes_is_kept_and_is_replaced_if_forced(quick: Job) -> None:
    quick.disturbed(3, 1, of=1)
    quick.output.write_text("of somebody")
    with refused(ImageError, quick.output, problem="has appeared", names=("--force",)):
        quick.run()
    assert quick.reports == []
    assert quick.output.read_text() == "of somebody"
    assert quick.files == ["job.json", "tile-1.pt", "tile-2.pt"]
    quick.run(force=True)
    assert quick.reports == [(3, 1, 1), (4, 1, 1)]
    assert quick.output.read_bytes() == b"written"


def test_one_that_appears_where_nothing_could_be_kept_costs_no_result(
    quick: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def appear(_: Report) -> None:
        quick.output.write_text("of somebody")

    monkeypatch.setattr(checkpoints, "write_state", full)
    with pytest.raises(FileExistsError):  # for which the command writes it elsewhere
        quick.run(appear)
    assert quick.output.read_text() == "of somebody"
    assert not quick.path.exists()


def test_a_replaced_output_keeps_its_permissions(quick: Job) -> None:
    for mode in (0o600, 0o664, 0o444):
        quick.output.touch()
        quick.output.chmod(mode)
        quick.run(force=True)
        assert (stat.S_IMODE(quick.output.stat().st_mode), quick.output.read_bytes()) == (mode, b"written")
        quick.output.unlink()
    quick.run(force=True)
    assert quick.output.exists()


@pytest.mark.parametrize("letter", ["b", "é"])
def test_the_hidden_names_of_an_output_with_a_long_name_are_shorter(quick: Job, letter: str) -> None:
    """Of the 255 bytes that a name may have, the folder's ending takes five."""
    folder = quick.output.parent
    for length in range(246, 256):
        name = letter * ((length - 4) // len(letter.encode())) + ".png"
        output = folder / name.rjust(length - len(name.encode()) + len(name), "a")
        assert len(os.fsencode(output.name)) == length
        with WorkFolder(output, {"job": 1}) as work:
            (work.path / "tile-1.pt").touch()
            work.draft.touch()
            work.finish()
        assert [path.name for path in folder.iterdir()] == [output.name]
        output.unlink()
    paths = {WorkFolder(folder / ("b" * 250 + end), {}).path for end in ("1.png", "2.png")}
    assert len(paths) == 2


def test_what_is_in_the_place_of_the_folder_or_the_output_is_named_and_kept(job: Job) -> None:
    job.path.write_text("a file")
    for force in (False, True):
        with refused(ConfigError, job.path, problem="is no folder") as refusal, job.folder(force=force):
            pass
    _removed_as_told(refusal.value)
    job.path.mkdir()
    (job.path / "letters").write_text("mine")
    for force in (False, True):
        with refused(ConfigError, job.path, problem="holds letters, which is not of a job"), job.folder(force=force):
            pass
    assert job.files == ["letters"]
    job.output.mkdir()
    with refused(ImageError, job.output, problem="is a folder"):
        check_free(job.output, force=True)


def test_what_a_removal_that_was_cut_short_has_left_is_removed(job: Job) -> None:
    job.disturbed(3, 8)
    (job.path / "job.json").unlink()
    job.output.write_bytes(b"written")
    with refused(ImageError, job.output, names=("--force",), problem="is there already"), job.folder():
        pass
    assert not job.path.exists()


def test_a_second_process_of_the_same_job_is_refused(job: Job) -> None:
    job.disturbed(2, 4)
    process = held_elsewhere(job.path)
    try:
        for force in (False, True):
            with (
                refused(LeaseError, job.path, problem=f"being computed by process {process.pid}"),
                job.folder(force=force),
            ):
                pass
    finally:
        end(process)
    with job.folder():  # of a process that died it is taken over
        assert "tile-1.pt" in job.files


def test_a_job_that_another_process_has_taken_over_keeps_nothing_more(job: Job) -> None:
    def take_over(report: Report) -> None:
        if report == (2, 8, PLANNED):
            (job.path / "lease.2").write_text("{}")

    with refused(LeaseError, job.path, problem="taken over"):
        job.run(take_over)
    assert job.files == ["job.json", "lease.1", "lease.2", "tile-1.pt", "tile-2.fits.pt"]


def test_a_slip_before_the_first_iteration_leaves_nothing(job: Job) -> None:
    with pytest.raises(ConfigError), job.folder() as work:
        denoise(IMAGE, job.config, sigma=0.1, tile=3, work=work)
    assert not job.path.exists()
