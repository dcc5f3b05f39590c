"""A small world for the operator: an API server, Jobs' controller, nodes with workers that make up results, a store.

Nothing happens by itself: tests let pods start, workers take steps and time pass. The store is a real one in a folder;
workers read their orders from their pods' arguments, and the rules of what a failure means from their Jobs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cycleqd.store.folder
import cycleqd_operator.ended_jobs
import cycleqd_operator.reconcile
import cycleqd_operator.stores
from cycleqd import keys
from cycleqd.errors import BadData, CycleQDError, MissingObject, StoreUnreachable
from cycleqd.failures import Failure
from cycleqd.identity import read_desired_state
from cycleqd.ids import parse_ids
from cycleqd.log import ResultLog
from cycleqd.orders import Outcome
from cycleqd.plan import Work
from cycleqd.records import Timings, read_result
from cycleqd.store import Credentials, FolderStore, ObjectStore
from cycleqd_operator.conditions import timestamp
from cycleqd_operator.labels import SELECTOR
from tests.core.support import make_result, spec_dict, write_report
from tests.operator.api_server import ApiServer, Body, run_body
from tests.operator.standings import NOON

SECRET = {"AWS_ACCESS_KEY_ID": "a2V5", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"}
DIES = Outcome(ok=False)
"""Fate of a worker that is killed before it can say a word."""
AWAY = StoreUnreachable("The store did not answer.")
RUNNING: Body = {"phase": "Running", "containerStatuses": [{"name": "worker", "state": {"running": {}}}]}
_EXIT = {True: 2, False: 75}
_NO_STATUS: Body = {}


class World:
    """Everything but the operator.

    Attributes:
        now: Unix time in seconds.
        api: the API server.
        storage: the run's store, always there.
        store_trouble: what every use of the store meets, by the operator and by workers; None: it works.
        store_hiccups: for each of the next uses, whether the store does not answer it.
        fates: how the next workers end that come to this work, by its key.
        obstacle: status of the pods that are made; None: they run at once.
    """

    def __init__(self, folder: Path) -> None:
        self.now = NOON
        self.api = ApiServer(lambda: self.now)
        self.storage = FolderStore(folder)
        self.store_trouble: CycleQDError | None = None
        self.store_hiccups: list[bool] = []
        self.fates: dict[str, list[Outcome]] = {}
        self.obstacle: Body | None = None
        self.api.add("secrets", {"metadata": {"name": "s3", "namespace": "research"}, "data": dict(SECRET)})
        self._numbers = itertools.count(1)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make the operator's clock and its way to the store this world's; nothing is made durable, which takes ms."""

        def opened(uri: str, credentials: Credentials | None = None) -> Any:
            assert uri.startswith("s3://")
            return _Fickle(self)

        clock = SimpleNamespace(time=lambda: self.now)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cycleqd.store.folder, "make_durable", lambda path: None)
            patch.setattr(cycleqd_operator.stores, "open_store", opened)
            patch.setattr(cycleqd_operator.reconcile, "time", clock)
            patch.setattr(cycleqd_operator.ended_jobs, "time", clock)
            yield

    # What users do.

    def apply(self, name: str = "demo", **fields: Any) -> Body:
        """Create a run, or change its spec; return the server's own copy."""
        children = fields.pop("children", None)
        search = {"children": 6 if children is None else children}
        storage = {"uri": f"s3://runs/{name}", "credentialsSecretName": "s3"}
        spec = spec_dict(**{"search": search, "storage": storage, **fields})
        key = "cycleqdruns", "research", name
        if key not in self.api.objects:
            return self.api.add("cycleqdruns", run_body(name, spec))
        run = self.api.objects[key]
        run["spec"] = spec
        return self._respecified(run)

    def change(
        self, name: str = "demo", *, parallelism: int | None = None, children: int | None = None, **fields: Any
    ) -> None:
        """Change fields of a run's spec that may change."""
        run = self.run(name)
        if parallelism is not None:
            run["spec"].setdefault("workers", {})["parallelism"] = parallelism
        if children is not None:
            run["spec"]["search"]["children"] = children
        run["spec"] |= fields
        self._respecified(run)

    def _respecified(self, run: Body) -> Body:
        run["metadata"]["generation"] += 1
        self.api.change("cycleqdruns", run)
        return run

    # What there is.

    def run(self, name: str = "demo") -> Body:
        return self.api.find("cycleqdruns", name)

    @property
    def jobs(self) -> list[Body]:
        return self.api.all("jobs")

    @property
    def active_jobs(self) -> list[Body]:
        return [job for job in self.jobs if not _ended(job)]

    @property
    def live_pods(self) -> list[Body]:
        """Pods whose containers run or may run, also those that are being deleted."""
        return [pod for pod in self.api.all("pods") if pod["status"]["phase"] in ("Pending", "Running")]

    @property
    def readable_results(self) -> set[int]:
        """Ids with a result that can be read, children and experts."""
        log = ResultLog(self.storage)
        log.refresh()
        return {entry.id for entry in log.entries.values()}

    @property
    def quarantined(self) -> set[int]:
        """Ids that were given up."""
        found = (keys.parse_quarantine(key) for key in self.storage.list(keys.QUARANTINE))
        return {individual for individual in found if individual is not None}

    # What Kubernetes does.

    def make_pods(self) -> None:
        """Let Jobs' controller make pods, and nodes start them."""
        for job in self.active_jobs:
            if job["spec"].get("suspend") or any(_belongs(pod, job) for pod in self.live_pods):
                continue
            metadata = job["metadata"]
            name = f"{metadata['name']}-{next(self._numbers)}"
            template = job["spec"]["template"]
            labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": metadata["name"]}
            owner = {"uid": metadata["uid"], "kind": "Job", "controller": True, "name": metadata["name"]}
            self.api.add(
                "pods",
                {
                    "metadata": {
                        "name": name,
                        "namespace": metadata["namespace"],
                        "labels": labels,
                        "ownerReferences": [owner],
                    },
                    "spec": {**template["spec"], "nodeName": "node-1"},
                    "status": self.obstacle or dict(RUNNING),
                },
            )
            self._job_status(job, active=1, ready=int(self.obstacle is None))

    def start_pods(self) -> None:
        """Let nodes start the pods that are there."""
        for pod in self.live_pods:
            pod["status"] = dict(RUNNING)
            for job in self.active_jobs:
                if _belongs(pod, job):
                    self._job_status(job, active=1, ready=1)

    def end_pod(self, pod: Body, code: int, told: Outcome | None = None, conditions: Sequence[Body] = ()) -> None:
        """Let a pod's container end; its Job's rules decide what becomes of the Job."""
        ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
        if told:
            ended["message"] = told.model_dump_json()
        container = {"name": "worker", "state": {"terminated": ended}}
        phase = "Failed" if code else "Succeeded"
        pod["status"] = {"phase": phase, "containerStatuses": [container], "conditions": list(conditions)}
        job = next((job for job in self.active_jobs if _belongs(pod, job)), None)
        if job is None:
            self.api.remove("pods", pod)
        elif code == 0:
            self._job_status(job, condition={"type": "Complete", "status": "True"})
        else:
            action = next((rule["action"] for rule in _rules(job) if _applies(rule, pod, code)), "Count")
            if action == "Ignore":
                self._job_status(job, active=0, ready=0)
                return
            reason = "PodFailurePolicy" if action == "FailJob" else "BackoffLimitExceeded"
            self._job_status(job, condition={"type": "Failed", "status": "True", "reason": reason, "message": reason})

    def stop_pods(self, *, last_words: bool = False) -> None:
        """Let pods go that are being deleted; with ``last_words`` their workers write one more result."""
        for pod in self.live_pods:
            if "deletionTimestamp" not in pod["metadata"]:
                continue
            if last_words:
                self.step(pod)
            if pod["status"]["phase"] == "Running":
                self.end_pod(pod, 143)
            elif pod in self.api.all("pods"):
                self.api.remove("pods", pod)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and ended Jobs go whose time is over."""
        self.now += seconds
        for job in self.jobs:
            ended = _ended(job)
            if ended and job["ended"] + job["spec"]["ttlSecondsAfterFinished"] <= self.now:
                self.api.remove("jobs", job)
                for pod in self.api.all("pods"):
                    if _belongs(pod, job):
                        self.api.remove("pods", pod)

    def _job_status(self, job: Body, *, condition: Body | None = None, active: int = 0, ready: int = 0) -> None:
        job["status"] = {"active": active, "ready": ready, "conditions": []}
        if condition:
            job["status"]["conditions"] = [{**condition, "lastTransitionTime": timestamp(self.now)}]
            job["ended"] = self.now
        self.api.change("jobs", job)

    # What workers do.

    def work(self) -> None:
        """Let pods start and every worker take one step."""
        self.make_pods()
        for pod in self.live_pods:
            self.step(pod)

    def work_off(self) -> None:
        """Let the present Jobs come to their ends."""
        for _ in range(1000):
            if not self.active_jobs:
                return
            self.work()
        raise AssertionError("The Jobs come to no end.")

    def step(self, pod: Body) -> None:
        """Let a worker do the next thing: one expert, one individual or the report; when nothing is left, it ends."""
        if pod["status"]["phase"] != "Running":
            return
        store: ObjectStore = _Fickle(self)
        try:
            outcome = self._act(store, pod)
        except StoreUnreachable as error:
            outcome = Outcome.of(error)
        if outcome == DIES:
            self.end_pod(pod, 137)
        elif outcome:
            self.end_pod(pod, 0 if outcome.ok else _EXIT[outcome.permanent], outcome)

    def _act(self, store: ObjectStore, pod: Body) -> Outcome | None:
        """Return how the worker ends, or None if it goes on."""
        work = _order(pod)
        left = next((individual for individual in work.ids if not _is_done(store, individual)), None)
        if work.ids and left is None:
            return Outcome(ok=True)
        if work.role == "breed" and read_desired_state(store) != "Running":
            return Outcome(ok=True, drained=True)
        fates = self.fates.get(Work(work.role, work.subject, () if left is None else (left,)).key)
        if fates:
            return fates.pop(0)
        if work.role == "prepare":
            store.put(keys.basis_manifest(work.subject), b"{}")
        elif work.role == "finalize":
            write_report(store)
        elif left is not None:
            put_result(store, left)
            return None
        return Outcome(ok=True)


class _Fickle:
    """The world's store as others see it: away while the world says so."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._world.storage, name)

        def used(*arguments: Any, **options: Any) -> Any:
            if self._world.store_trouble:
                raise self._world.store_trouble
            with suppress(IndexError):
                if self._world.store_hiccups.pop():
                    raise AWAY
            return attribute(*arguments, **options)

        return used if callable(attribute) else attribute


def put_result(store: ObjectStore, individual: int) -> None:
    scores = [0.1 * (individual % 7), 0.1 * (individual % 5), 0.5]
    timings = Timings(breed_seconds=1, load_seconds=1, evaluate_seconds=8)
    key = keys.result(individual)
    data = make_result(individual, scores, timings=timings, gpus=1).model_dump_json().encode()
    if not store.put_once(key, data):
        try:
            read_result(store.get(key), key)
        except BadData:
            store.put(key, data)


def _is_done(store: ObjectStore, individual: int) -> bool:
    key = keys.result(individual)
    try:
        return store.exists(keys.quarantine(individual)) or read_result(store.get(key), key).id == individual
    except (MissingObject, BadData):
        return False


def notes(world: World) -> list[Failure]:
    """Return what the operator wrote down about failed workers."""
    return [Failure.model_validate_json(world.storage.get(key)) for key in world.storage.list(keys.FAILURES)]


def _order(pod: Body) -> Work:
    """Return what a pod's arguments ask for."""
    _, role, *options = pod["spec"]["containers"][0]["args"]
    named = dict(zip(options[::2], options[1::2], strict=True))
    return Work(role, named.get("--expert", ""), parse_ids(named.get("--ids", "")))


def _ended(job: Body) -> bool:
    return bool(job.get("status", _NO_STATUS).get("conditions"))


def _belongs(pod: Body, job: Body) -> bool:
    return any(owner["uid"] == job["metadata"]["uid"] for owner in pod["metadata"]["ownerReferences"])


def _rules(job: Body) -> list[Body]:
    rules: list[Body] = job["spec"]["podFailurePolicy"]["rules"]
    return rules


def _applies(rule: Body, pod: Body, code: int) -> bool:
    wanted = {(each["type"], each["status"]) for each in rule.get("onPodConditions", ())}
    found = {(each["type"], each["status"]) for each in pod["status"].get("conditions", ())}
    codes = rule.get("onExitCodes", {})
    return bool(wanted & found) or (codes.get("operator") == "In" and code in codes["values"])


def is_selected(body: Body) -> bool:
    """Return whether the operator's watch of Jobs shows this one."""
    name, _, value = SELECTOR.partition("=")
    return bool(body["metadata"].get("labels", {}).get(name) == value)
