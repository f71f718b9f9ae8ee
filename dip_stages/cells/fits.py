"""The fits of a cell: one for each member of its ensemble, one after another or several at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dip_stages.cells import build
from dip_stages.cells.results import Member, member_of
from dip_stages.cells.threads import in_lanes
from dip_stages.dip.callbacks import Checkpointer, Guard, QualityCurve, Steps, Ticker
from dip_stages.dip.lightning import fit, trainer_of
from dip_stages.dip.stages import Chunks
from dip_stages.errors import DivergenceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_lightning.loggers import Logger

    from dip_stages.cells.attempt import Attempt
    from dip_stages.config import Config
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.observation import Observation
    from dip_stages.dip.stages import StagePlan
    from dip_stages.store.record_fields import StageFields

__all__ = ["Fits"]


@dataclass(frozen=True)
class _Edge:
    """The end of a chunk, from which a fit can resume.

    Attributes:
        state: The module's.
        rows: How many rows its curve had.
        stages: How many stages had ended.
    """

    state: dict[str, Any]
    rows: int
    stages: int


class Fits:
    """The fits of a cell: done, running, and not begun. They write to the attempt and know nothing of who runs them.

    Args:
        config: The cell's.
        observation: What they are fitted to.
        plan: Their stages.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        attempt: Gets time, notes, progress and checkpoints.

    Attributes:
        done: Members by number.
        diverged: The module of each fit that diverged, by its error.
        together: The most fits at once.
    """

    def __init__(
        self, config: Config, observation: Observation, plan: StagePlan, accelerator: str, attempt: Attempt
    ) -> None:
        self._config, self._observation, self._plan, self._accelerator = config, observation, plan, accelerator
        self._attempt = attempt
        every = config.runtime.checkpoint_every
        self._checkpointer = None if every is None else Checkpointer(self.save, every)  # shared by all fits
        self._members = config.ensemble.members
        self._curves = [QualityCurve(observation.clean, number) for number in range(self._members)]
        self._edges: dict[int, _Edge] = {}  # of fits that are not done
        self._running: dict[int, DIPModule] = {}
        self._saving, self._reporting = threading.Lock(), threading.Lock()  # fits may run side by side
        self.done: dict[int, Member] = {}
        self.diverged: dict[BaseException, DIPModule] = {}
        self.together = min(config.runtime.members_together, self._members)

    @property
    def members(self) -> list[Member]:
        """The members that are done, in order."""
        return [self.done[number] for number in sorted(self.done)]

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows of all curves; see :class:`~dip_stages.dip.callbacks.QualityCurve`."""
        return [row for curve in self._curves for row in curve.rows]

    @property
    def stages(self) -> list[StageFields]:
        """The stages that ended, of all members."""
        return [cast("StageFields", stage) for curve in self._curves for stage in curve.stages]

    @property
    def iterations(self) -> int:
        """Iterations done, of all members."""
        return sum(self._iterations(number) for number in range(self._members))

    @property
    def rollbacks(self) -> int:
        """Jumps of the loss that were rolled back, of all members."""
        waiting = [self._edges[number].state for number in self._edges.keys() - self._running.keys()]
        begun: tuple[Member | DIPModule, ...] = (*self.done.values(), *self._running.values())
        return sum(each.rollbacks for each in begun) + sum(int(state["count"]) for state in waiting)

    def save(self) -> None:
        """Write a checkpoint of the members that are done and of the last edge of each other fit, if there is any."""
        with self._saving:
            state = self._state()
            if state is not None:
                self._attempt.save(state)

    def _state(self) -> dict[str, Any] | None:
        edges, done = dict(self._edges), dict(self.done)  # a fit that ends now may be in both
        if not edges and not done:
            return None
        rows, stages = [], []
        for number, curve in enumerate(self._curves):
            if number in done:
                rows += curve.rows
                stages += curve.stages
            elif number in edges:  # later rows will be measured again
                rows += curve.rows[: edges[number].rows]
                stages += curve.stages[: edges[number].stages]
        return {
            "members": {number: vars(member) for number, member in done.items()},
            "unfinished": {number: edge.state for number, edge in edges.items() if number not in done},
            "rows": rows,
            "stages": stages,
        }

    def resume(self, saved: dict[str, Any]) -> int:
        """Resume from a checkpoint, to the same bits as without an interruption.

        Args:
            saved: As :meth:`save` wrote it.

        Returns:
            The iteration of the whole cell at which it resumes.
        """
        self.done = {number: Member(**member) for number, member in saved["members"].items()}
        for number, curve in enumerate(self._curves):
            curve.rows = [row for row in saved["rows"] if row["member"] == number]
            curve.stages = [stage for stage in saved["stages"] if stage["member"] == number]
        for number, state in saved["unfinished"].items():
            curve = self._curves[number]
            self._edges[number] = _Edge(state, len(curve.rows), len(curve.stages))
        return self._progress

    def run(self, logger: Logger | bool, should_stop: Callable[[], bool]) -> None:
        """Fit the members that are not done.

        Args:
            logger: Lightning's, or ``False``. Of fits side by side it gets the metrics when all are done.
            should_stop: Whether to stop.

        Raises:
            Interrupted: If it was asked to stop, or interrupted from the keyboard.
            DivergenceError: If a fit diverged.
        """
        left = [number for number in range(self._members) if number not in self.done]

        def in_turn(number: int, should_stop: Callable[[], bool]) -> None:
            self._log_first(number, logger)  # those of an earlier attempt
            self._fit(number, logger, should_stop)

        def at_once(number: int, should_stop: Callable[[], bool]) -> None:
            self._fit(number, False, should_stop)

        in_lanes(in_turn if self.together == 1 else at_once, left, self.together, should_stop)
        if not isinstance(logger, bool) and self._log_first(self._members, logger):
            self._attempt.check()
            logger.save()
            logger.finalize("success")

    def _fit(self, number: int, logger: Logger | bool, should_stop: Callable[[], bool]) -> None:
        config, curve = self._config, self._curves[number]
        module = build.build_module(config, self._plan, self._observation, accelerator=self._accelerator, member=number)
        module.should_stop = should_stop
        if edge := self._edges.get(number):
            module.resume(edge.state)
        self._running[number] = module
        # The curve comes before what reads its rows. The checkpointer comes last: it saves the edges.
        callbacks = [
            Guard(self._attempt.check),
            curve,
            Steps(lambda _: self._note_edge(number)),
            Ticker(curve, self._report),
        ]
        callbacks += [self._checkpointer] if self._checkpointer else []
        trainer = trainer_of(self._accelerator, logger=logger, callbacks=callbacks)
        chunks = Chunks(self._plan, config.trainer.chunk, start=module.edge)
        try:
            with self._attempt.time.fitting():
                fit(trainer, module, chunks, self._accelerator)
        except DivergenceError as error:
            self.diverged[error] = module
            raise
        if module.why_eager:
            self._attempt.note(f"not captured as a CUDA graph: {module.why_eager}")
        self.done[number] = member_of(config, number, module, curve.rows, self._observation.clean)
        del self._running[number]
        self._edges.pop(number, None)
        if len(self.done) < self._members:
            self.save()

    def _note_edge(self, number: int) -> None:
        curve, state = self._curves[number], self._running[number].saved()
        assert state is not None  # noqa: S101 - a chunk has ended
        self._edges[number] = _Edge(state, len(curve.rows), len(curve.stages))  # at once: an interruption may come

    def _report(self, loss: float, psnr: float) -> None:
        with self._reporting:
            self._attempt.progress(self._progress, self._members * self._plan.iterations, loss, psnr)

    def _log_first(self, members: int, logger: Logger | bool) -> int:
        """Give a logger the rows of the first members that it has not had; return how many these were."""
        if isinstance(logger, bool):
            return 0
        return sum(curve.hand_to(logger, self._plan.iterations) for curve in self._curves[:members])

    @property
    def _progress(self) -> int:
        """Iterations of the whole cell; a member that is done counts with all that were planned."""
        planned = self._plan.iterations
        return sum(planned if number in self.done else self._iterations(number) for number in range(self._members))

    def _iterations(self, number: int) -> int:
        # Each dictionary is read once: another thread may end this fit meanwhile.
        if member := self.done.get(number):
            return member.iterations
        if module := self._running.get(number):
            return module.iteration
        edge = self._edges.get(number)
        return int(edge.state["iteration"]) if edge else 0
