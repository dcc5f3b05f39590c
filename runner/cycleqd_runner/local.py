"""The local executor: runs a manifest on this machine, processes instead of Jobs.

Like the operator it is level-triggered: again and again it looks at what the store holds, asks the planner what should
run, and gives that to free workers. It keeps no state of its own, so it can be killed and started again at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cycleqd import keys
from cycleqd.affinity import read_affinity
from cycleqd.api import CycleQDRun
from cycleqd.archives import compares_items
from cycleqd.errors import EXIT_BAD_INPUT, PermanentError
from cycleqd.fold import Population
from cycleqd.identity import claim
from cycleqd.log import ResultLog
from cycleqd.orders import Order, Outcome
from cycleqd.plan import Observed, Phase, Work, plan
from cycleqd.report import is_finalized
from cycleqd.sidecars import evaluators
from cycleqd.store import ObjectStore
from cycleqd.store.transfer import probe
from cycleqd_runner.roles.writing import SCORED
from cycleqd_runner.unsupported import (
    refuse_without_containers,
    refuse_without_sandbox,
    refuse_without_server,
)

POLL_SECONDS = 0.25
"""How often the store is looked at; a child takes seconds at least."""


@dataclass(frozen=True)
class Snapshot:
    """How a run stands; what the user is shown.

    Attributes:
        phase: of the run.
        population: everybody that has scores.
        prepared: experts whose basis is complete.
        done: ids that have a result or were given up.
        running: what the workers do.
        damaged: objects that are not results, and why.
        stopped: ids whose evaluation racing ended early.
        broken: ids that are not scored because their numbers became NaN or infinite.
    """

    phase: Phase
    population: Population
    prepared: frozenset[str]
    done: frozenset[int]
    running: tuple[Work, ...]
    damaged: dict[str, str]
    stopped: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()


class Observer(Protocol):
    """Is told how the run goes."""

    def show(self, snapshot: Snapshot) -> None:
        """Called every :data:`POLL_SECONDS`."""
        ...

    def say(self, message: str) -> None:
        """Called with a sentence that the user should see."""
        ...


@dataclass
class _Worker:
    """A process that does one piece of work at a time."""

    process: asyncio.subprocess.Process
    log: Path
    work: Work | None = None
    task: asyncio.Task[Outcome] | None = None

    def give(self, work: Work) -> None:
        self.work = work
        self.task = asyncio.ensure_future(self._do(work))

    async def _do(self, work: Work) -> Outcome:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker was started without pipes")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(Order.of(work).model_dump_json().encode() + b"\n")
            await stdin.drain()
        line = await stdout.readline()
        if line:
            return Outcome.model_validate_json(line)
        code = await self.process.wait()
        lines = self.log.read_text(errors="replace").strip().splitlines()
        tail = [line for line in lines if not line.startswith(SCORED)][-1:] or ["no message"]
        message = f"{tail[0]} (worker exit code {code}, log {self.log})"
        return Outcome(ok=False, permanent=code == EXIT_BAD_INPUT, message=message)


@dataclass
class LocalRun:
    """One run on this machine.

    Attributes:
        run: the manifest.
        store: of the run.
        observer: is told how it goes.
        logs: folder for the workers' logs.
        worker: command that serves orders; the store's URI is added to it.
    """

    run: CycleQDRun
    store: ObjectStore
    observer: Observer
    logs: Path
    worker: tuple[str, ...]
    _log: ResultLog = field(init=False)
    _workers: list[_Worker] = field(default_factory=list)
    _prepared: set[str] = field(default_factory=set)
    _is_told: bool = False
    _failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._log = ResultLog(self.store, items=compares_items(self.run.spec.search.archive))

    async def execute(self) -> None:
        """Run until the final report is written.

        Raises:
            RunMismatch: the store holds another run.
            CycleQDError: a worker met something that trying again does not help.
        """
        await refuse_without_sandbox(self.run.spec)
        refuse_without_server(evaluators(self.run.spec))
        refuse_without_containers(evaluators(self.run.spec))
        probe(self.store)
        claim(self.store, self.run)
        deadline = self.run.spec.active_deadline_seconds
        try:
            async with self._stopping_workers(), asyncio.timeout(deadline):
                while not await self._step():
                    pass
        except TimeoutError as error:
            message = f"The run is not finished after {deadline} s: raise spec.activeDeadlineSeconds."
            raise PermanentError(message) from error

    async def _step(self) -> bool:
        """Look, plan, start what is missing, wait a moment. Return whether the run has ended."""
        self._log.refresh()
        self._log.compact()
        self._collect()
        decision = plan(self.run.spec, self._observed(), smallest_block=1)  # our workers are warm
        self.observer.show(self._snapshot(decision.phase))
        self._tell_affinity()
        if decision.phase in ("Succeeded", "Cancelled"):
            return True
        for work in decision.start:
            await self._start(work)
        busy = [worker.task for worker in self._workers if worker.task]
        if not busy:
            state = self.run.spec.desired_state
            raise PermanentError(f"The run is {state}: set spec.desiredState to Running to go on.")
        await asyncio.wait(busy, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return False

    def _observed(self) -> Observed:
        experts = [expert.name for expert in self.run.spec.experts]
        self._prepared |= {
            name for name in experts if name not in self._prepared and self.store.exists(keys.basis_manifest(name))
        }
        running = tuple(worker.work for worker in self._workers if worker.work)
        done = frozenset(self._log.done)
        # While anything runs the report is not finished, so it is not read four times a second.
        finalized = not running and is_finalized(self.store, done)
        return Observed(frozenset(self._prepared), done, finalized, running)

    def _tell_affinity(self) -> None:
        """Say once how close the experts are, as soon as all of them are prepared."""
        if self._is_told or len(self._prepared) < len(self.run.spec.experts):
            return
        self._is_told = True
        if found := read_affinity(self.store):
            self.observer.say(found.verdict)

    def _snapshot(self, phase: Phase) -> Snapshot:
        spec = self.run.spec
        running = tuple(worker.work for worker in self._workers if worker.work)
        population = self._log.population(spec)
        prepared, done = frozenset(self._prepared), frozenset(self._log.done)
        damaged, stopped, broken = dict(self._log.damaged), frozenset(self._log.stopped), frozenset(self._log.broken)
        return Snapshot(phase, population, prepared, done, running, damaged, stopped, broken)

    def _collect(self) -> None:
        """Take the outcomes of finished work; raise what cannot be helped by trying again."""
        for worker in list(self._workers):
            if worker.task is None or not worker.task.done() or worker.work is None:
                continue
            outcome, work = worker.task.result(), worker.work
            worker.task = worker.work = None
            if worker.process.returncode is not None:
                self._workers.remove(worker)
            if outcome.drained:
                raise PermanentError(
                    "The run's desiredState was changed by another command: run this one again once it is Running."
                )
            if not outcome.ok:
                self._failed(work, outcome)

    def _failed(self, work: Work, outcome: Outcome) -> None:
        if outcome.permanent:
            raise outcome.error()
        self._log.refresh()
        missing = [individual for individual in work.ids if individual not in self._log.done]
        subject = f"child {missing[0]}" if work.role == "breed" and missing else work.key
        self._failures[subject] += 1
        attempts = self.run.spec.failure_policy.attempts
        if self._failures[subject] < attempts:
            self.observer.say(f"{work.key} is tried again: {outcome.message}")
        elif work.role == "breed" and missing and not outcome.kind:  # who can still say why was not killed by it
            self.store.put_once(keys.quarantine(missing[0]), outcome.model_dump_json().encode())
            self._log.refresh()  # or the plan that follows would send it to a fourth worker
            self.observer.say(
                f"Child {missing[0]} was given up after {attempts} workers died with it: {outcome.message}"
            )
            self._refuse_too_many_quarantined()
        else:
            raise outcome.error(f"{work.key} failed {attempts} times: {outcome.message}")

    def _refuse_too_many_quarantined(self) -> None:
        given_up, most = len(self._log.quarantined), self.run.spec.failure_policy.max_quarantined
        if given_up > most:
            raise PermanentError(
                f"{given_up} children were given up, and spec.failurePolicy.maxQuarantined is {most}: look at the logs "
                f"in {self.logs}, then raise it or run fewer workers at one time."
            )

    async def _start(self, work: Work) -> None:
        worker = next((worker for worker in self._workers if worker.work is None), None)
        if worker is None:
            worker = await self._spawn()
            self._workers.append(worker)
        worker.give(work)

    async def _spawn(self) -> _Worker:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"worker-{len(list(self.logs.glob('worker-*.log')))}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *self.worker,
                self.store.uri,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "OMP_NUM_THREADS": str(self._threads())},
                start_new_session=True,  # Ctrl-C is for us; we stop the workers
            )
        return _Worker(process, log)

    def _threads(self) -> int:
        """Return the CPU threads of one worker. Strict runs use one: a different number rounds differently."""
        spec = self.run.spec
        if spec.engine.args.threads:
            return spec.engine.args.threads
        return 1 if spec.search.strict else max(1, len(os.sched_getaffinity(0)) // spec.workers.parallelism)

    @contextlib.asynccontextmanager
    async def _stopping_workers(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for worker in self._workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.terminate()
            for worker in self._workers:
                await worker.process.wait()
                if worker.task:
                    worker.task.cancel()
