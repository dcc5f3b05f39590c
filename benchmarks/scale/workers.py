"""Workers that do nothing but write what real ones would have written, for pods that no kubelet runs.

A pod that its fake node calls Running gets a task here. It reads the pod's arguments as a real worker would, puts the
results into the store, and then says that the container has ended with 0. The benchmark chooses how long that takes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.scale.api import Api, Body, Refused
from cycleqd import keys
from cycleqd.ids import parse_ids
from cycleqd.records import ItemOutcome, Result, TaskEvaluation, Timings
from cycleqd.report import Report
from cycleqd.store import Credentials, ObjectStore, open_store
from cycleqd_operator.labels import COMPONENT_WORKER, SELECTOR

ITEMS = 48
"""Search items of a task; a result has about the size of a real one."""
CHILD_SECONDS = 1200.0
"""What results claim that a child took, as in the paper; the figures of the status are made from it."""


def result(individual: int, tasks: int) -> bytes:
    """Return a valid result with scores that depend on the individual alone."""
    rng = np.random.default_rng(individual)
    evaluations = tuple(
        TaskEvaluation(
            task=f"skill-{task}",
            split="search",
            outcomes=tuple(
                ItemOutcome(item=f"search-{item:05d}", score=float(rng.random() < rng.random()), reason="rows differ")
                for item in range(ITEMS)
            ),
        )
        for task in range(tasks)
    )
    timings = Timings(breed_seconds=0.1, load_seconds=1.0, evaluate_seconds=CHILD_SECONDS)
    made = Result(id=individual, genome_sha256="0" * 64, evaluations=evaluations, timings=timings)
    return made.model_dump_json().encode()


def report(store: ObjectStore, name: str) -> bytes:
    """Return a final report about everybody who has a result."""
    pairs = (keys.parse_result(key) for key in store.list(keys.RESULTS))
    individuals = [{"id": pair[0]} for pair in pairs if pair]
    fields = {"run": name, "uid": "", "tasks": (), "experts": (), "scores": {}, "means": {}}
    return Report.model_validate({**fields, "individuals": individuals}).model_dump_json().encode()


@dataclass
class Workers:
    """All workers of a namespace.

    Attributes:
        api: of the cluster.
        namespace: with the pods.
        tasks: of every run.
        seconds: returns how long a worker with so many individuals takes.
        credentials: of the store.
    """

    api: Api
    namespace: str
    tasks: int
    seconds: Callable[[int], float]
    credentials: Credentials
    _stores: dict[str, ObjectStore] = field(default_factory=dict)
    _busy: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def attend(self) -> None:
        """Work for every pod that runs, for ever; a pod that is deleted loses its worker."""
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        async for event, pod in self.api.watch(pods, f"{SELECTOR},{COMPONENT_WORKER}"):
            uid = pod["metadata"]["uid"]
            if event == "DELETED" or "deletionTimestamp" in pod["metadata"]:
                task = self._busy.pop(uid, None)
                if task:
                    task.cancel()
            elif pod["status"].get("phase") == "Running" and uid not in self._busy:
                self._busy[uid] = asyncio.create_task(self._work(pod))

    async def stop(self) -> None:
        """Let all workers drop what they hold."""
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)
        self._busy.clear()

    async def _work(self, pod: Body) -> None:
        arguments = pod["spec"]["containers"][0]["args"]
        role, options = arguments[1], dict(zip(arguments[2::2], arguments[3::2], strict=True))
        store = self._store(options["--run"])
        ids = parse_ids(options.get("--ids", ""))
        pause = self.seconds(len(ids)) / max(1, len(ids))
        for individual in ids:
            await asyncio.sleep(pause)
            await asyncio.to_thread(store.put_once, keys.result(individual), result(individual, self.tasks))
        if not ids:
            await asyncio.sleep(pause)
        if role == "prepare":
            await asyncio.to_thread(store.put, keys.basis_manifest(options["--expert"]), b"{}")
        elif role == "finalize":
            page = await asyncio.to_thread(report, store, pod["metadata"]["labels"]["cycleqd.dev/run"])
            await asyncio.to_thread(store.put, keys.REPORT, page)
        await self._end(pod)

    async def _end(self, pod: Body) -> None:
        """Say that the container has ended well, in a kubelet's place."""
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]
        ended = {"exitCode": 0, "reason": "Completed", "message": '{"ok":true}'}
        state = {"name": container, "image": "none", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Succeeded", "containerStatuses": [{**state, "state": {"terminated": ended}}]}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/status"
        try:
            await self.api.request("PATCH", path, {"status": status}, content="merge-patch+json")
        except Refused as refusal:
            if refusal.status != 404:  # deleted meanwhile
                raise

    def _store(self, uri: str) -> ObjectStore:
        """Return a run's store; clients are kept, because making one takes longer than a request."""
        if uri not in self._stores:
            self._stores[uri] = open_store(uri, self.credentials)
        return self._stores[uri]


def between(shortest: float, longest: float) -> Callable[[int], float]:
    """Return durations that are spread evenly, so that workers do not end all at once; the spread repeats itself."""
    source = random.Random(0)  # noqa: S311 - no secret
    return lambda _: source.uniform(shortest, longest)
