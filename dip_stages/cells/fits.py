"""The fits of a cell: the members of its ensemble, one after another or several at once, or the only one there is."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.cells import build
from dip_stages.cells.results import Member, member_of
from dip_stages.cells.threads import in_lanes
from dip_stages.dip.callbacks import Checkpointer, QualityCurve, Steps, Ticker
from dip_stages.dip.lightning import fit, trainer_of
from dip_stages.dip.stages import Chunks
from dip_stages.errors import DivergenceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pytorch_lightning.loggers import Logger

    from dip_stages.config import Config
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.observation import Observation
    from dip_stages.dip.stages import StagePlan

__all__ = ["Fits"]


@dataclass(frozen=True)
class _Edge:
    """The end of a chunk, from which a fit can go on.

    Attributes:
        state: The module's.
        rows: How many rows the curve had.
        stages: How many stages it had noted.
    """

    state: dict[str, Any]
    rows: int
    stages: int


class Fits:
    """The fits of a cell, done, under way and to come.

    Args:
        config: The cell's.
        observation: What they are fitted to.
        plan: Their stages.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        listener: Called now and then, by one fit at a time, with iteration and iterations in all of the whole cell, and
            loss and PSNR of one fit.
        save: Called when it is time for a checkpoint.
        note: Called with what the record should say.
        fitting: Entered for as long as a fit goes on, by several at once.

    Attributes:
        done: Members by number.
        diverged: The module of each fit that did, by its error.
        together: The most fits at once.
    """

    def __init__(
        self,
        config: Config,
        observation: Observation,
        plan: StagePlan,
        accelerator: str,
        *,
        listener: Callable[[int, int, float, float], None],
        save: Callable[[], None],
        note: Callable[[str], None],
        fitting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._config, self._observation, self._plan, self._accelerator = config, observation, plan, accelerator
        self._listener, self._save, self._note, self._fitting = listener, save, note, fitting
        every = config.runtime.checkpoint_every
        self._checkpointer = None if every is None else Checkpointer(save, every)  # one, however many fits there are
        self._members = config.ensemble.members
        self._curves = [QualityCurve(observation.clean, number) for number in range(self._members)]
        self._edges: dict[int, _Edge] = {}  # of fits that are not done
        self._under_way: dict[int, DIPModule] = {}
        self._telling = threading.Lock()
        self.done: dict[int, Member] = {}
        self.diverged: dict[BaseException, DIPModule] = {}
        self.together = min(config.runtime.members_together, self._members)

    @property
    def members(self) -> list[Member]:
        """Those that are done, in order."""
        return [self.done[number] for number in sorted(self.done)]

    @property
    def rows(self) -> list[dict[str, float]]:
        """The curve's, of all members; see :class:`~dip_stages.dip.callbacks.QualityCurve`."""
        return [row for curve in self._curves for row in curve.rows]

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Those that ran, of all members."""
        return [stage for curve in self._curves for stage in curve.stages]

    @property
    def iterations(self) -> int:
        """Iterations done, of all members."""
        return sum(self._iterations(number) for number in range(self._members))

    @property
    def rollbacks(self) -> int:
        """Jumps of the loss, of all members."""
        to_come = [self._edges[number].state for number in self._edges.keys() - self._under_way.keys()]
        begun: tuple[Member | DIPModule, ...] = (*self.done.values(), *self._under_way.values())
        return sum(each.rollbacks for each in begun) + sum(int(state["count"]) for state in to_come)

    def saved(self) -> dict[str, Any] | None:
        """Return what to save: members that are done, and the last edges of those that are not; None if there is none.

        Fits that are made anew and :meth:`go_on` from it give the same bits as some that were never interrupted.
        """
        edges, done = dict(self._edges), dict(self.done)  # a fit may get done meanwhile, which puts it in both
        if not edges and not done:
            return None
        rows, stages = [], []
        for number, curve in enumerate(self._curves):
            if number in done:
                rows += curve.rows
                stages += curve.stages
            elif number in edges:  # what was measured since will be again
                rows += curve.rows[: edges[number].rows]
                stages += curve.stages[: edges[number].stages]
        return {
            "members": {number: vars(member) for number, member in done.items()},
            "unfinished": {number: edge.state for number, edge in edges.items() if number not in done},
            "rows": rows,
            "stages": stages,
        }

    def go_on(self, saved: dict[str, Any]) -> int:
        """Go on from what :meth:`saved` returned; return at which iteration of the whole cell."""
        self.done = {number: Member(**member) for number, member in saved["members"].items()}
        for number, curve in enumerate(self._curves):
            curve.rows = [row for row in saved["rows"] if row["member"] == number]
            curve.stages = [stage for stage in saved["stages"] if stage["member"] == number]
        for number, state in saved["unfinished"].items():
            curve = self._curves[number]
            self._edges[number] = _Edge(state, len(curve.rows), len(curve.stages))
        return self._progress

    def run(self, logger: Logger | bool, should_stop: Callable[[], bool]) -> None:
        """Fit what is not done.

        Args:
            logger: Lightning's, or ``False``. From fits side by side it gets the figures when all are done.
            should_stop: Whether to stop.

        Raises:
            Interrupted: If it was asked to stop, or interrupted from the keyboard.
            DivergenceError: If a fit diverged.
        """
        left = [number for number in range(self._members) if number not in self.done]

        def in_turn(number: int, should_stop: Callable[[], bool]) -> None:
            self._hand_over(logger, number)  # what was done before an interruption
            self._fit(number, logger, should_stop)

        def at_once(number: int, should_stop: Callable[[], bool]) -> None:
            self._fit(number, False, should_stop)

        in_lanes(in_turn if self.together == 1 else at_once, left, self.together, should_stop)
        if not isinstance(logger, bool) and self._hand_over(logger, self._members):
            logger.save()
            logger.finalize("success")

    def _fit(self, number: int, logger: Logger | bool, should_stop: Callable[[], bool]) -> None:
        config, curve = self._config, self._curves[number]
        module = build.build_module(config, self._plan, self._observation, accelerator=self._accelerator, member=number)
        module.should_stop = should_stop
        if edge := self._edges.get(number):
            module.resume(edge.state)
        self._under_way[number] = module
        callbacks = [curve, Steps(lambda _: self._note_edge(number)), Ticker(curve, self._tell)]
        if self._checkpointer:
            callbacks.append(self._checkpointer)
        trainer = trainer_of(self._accelerator, logger=logger, callbacks=callbacks)
        chunks = Chunks(self._plan, config.trainer.chunk, start=module.edge)
        try:
            with self._fitting():
                fit(trainer, module, chunks, self._accelerator)
        except DivergenceError as error:
            self.diverged[error] = module
            raise
        if module.why_eager:
            self._note(f"not captured as a CUDA graph: {module.why_eager}")
        self.done[number] = member_of(config, number, module, curve.rows, self._observation.clean)
        del self._under_way[number]
        self._edges.pop(number, None)
        if len(self.done) < self._members:
            self._save()

    def _note_edge(self, number: int) -> None:
        """Note where a fit can be gone on from; in one go, after all that there was to measure there."""
        curve, state = self._curves[number], self._under_way[number].saved()
        assert state is not None  # noqa: S101 - a chunk has ended
        self._edges[number] = _Edge(state, len(curve.rows), len(curve.stages))

    def _tell(self, loss: float, psnr: float) -> None:
        with self._telling:
            self._listener(self._progress, self._members * self._plan.iterations, loss, psnr)

    def _hand_over(self, logger: Logger | bool, members: int) -> int:
        """Hand what a logger has not had of the first members; return how many rows that was."""
        if isinstance(logger, bool):
            return 0
        return sum(curve.hand_to(logger, self._plan.iterations) for curve in self._curves[:members])

    @property
    def _progress(self) -> int:
        """Iterations of the whole cell; a fit that ended early has done all of its."""
        planned = self._plan.iterations
        return sum(planned if number in self.done else self._iterations(number) for number in range(self._members))

    def _iterations(self, number: int) -> int:
        # One look each: another lane may be ending this fit.
        if member := self.done.get(number):
            return member.iterations
        if module := self._under_way.get(number):
            return module.iteration
        edge = self._edges.get(number)
        return int(edge.state["iteration"]) if edge else 0
