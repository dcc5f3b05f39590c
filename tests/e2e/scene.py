"""What scenarios are written with: a run on the cluster, what it does, and waiting for that.

A run is steered with kubectl and watched through its status, its pods and its store: nothing of the operator's is used.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cycleqd import keys
from cycleqd.api import API_VERSION, KIND
from cycleqd.errors import MissingObject
from cycleqd.records import Result, read_result
from cycleqd.store import Credentials, ObjectStore, open_store
from tests.e2e.manifests import Edits, edited
from tests.e2e.world import SECRET, Site, World

RUNS = "cycleqdruns.cycleqd.dev"
RUN_LABEL = "cycleqd.dev/run"
POLL_SECONDS = 0.7
"""Between two looks."""
PATIENCE_SECONDS = 1200
"""For anything that workers have to do. Several scenarios share the node, and a worker begins with loading torch: that
alone takes two minutes beside three others on two slow cores, and a whole run starts six workers in turn."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run on the cluster.

    Attributes:
        world: where it is.
        name: of the CycleQDRun.
        manifest: as it was first applied.
        credentials: of its storage, where those of the environment are for another one.
    """

    world: Site
    name: str
    manifest: Document
    credentials: Credentials | None = None

    @property
    def uri(self) -> str:
        """Of its storage."""
        return str(self.manifest["spec"]["storage"]["uri"])

    @property
    def store(self) -> ObjectStore:
        """Its storage."""
        return open_store(self.uri, self.credentials)

    def apply(self) -> None:
        """Create it with ``kubectl apply``."""
        ok, error = self.world.kubectl.apply(self.manifest, self.world.namespace, server_side=False)
        assert ok, error

    def steer(self, spec: Document) -> None:
        """Merge into its spec."""
        ok, error = self.world.kubectl.patch(RUNS, self.name, self.world.namespace, {"spec": spec})
        assert ok, error

    def delete(self, *, wait: bool = True) -> None:
        """Delete the CycleQDRun."""
        self.world.kubectl.delete(RUNS, self.name, self.world.namespace, f"--wait={str(wait).lower()}")

    def body(self) -> Document:
        """Return the CycleQDRun; empty if there is none."""
        return self.world.kubectl.find(self.name, self.world.namespace)

    def status(self) -> Document:
        """Return its status."""
        found: Document = self.body().get("status", {})
        return found

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Return a condition's status, reason and message."""
        for condition in self.status().get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"], condition.get("message", "")
        return "Unknown", "", ""

    def objects(self, kind: str) -> list[Document]:
        """Return its Jobs, pods or, for ``events``, what was told about it."""
        kubectl, namespace = self.world.kubectl, self.world.namespace
        chosen = (
            f"--field-selector=involvedObject.name={self.name},involvedObject.kind={KIND}"
            if kind == "events"
            else f"--selector={RUN_LABEL}={self.name}"
        )
        found: list[Document] = kubectl.get(kind, "", namespace, chosen)["items"]
        return found

    def busy_pods(self) -> list[Document]:
        """Return pods whose containers may still run."""
        return [pod for pod in self.objects("pods") if pod["status"].get("phase") not in ("Succeeded", "Failed")]

    def running_pods(self) -> list[str]:
        """Return the names of pods whose worker runs and is not being stopped."""
        return [
            pod["metadata"]["name"]
            for pod in self.objects("pods")
            if "deletionTimestamp" not in pod["metadata"]
            and any("running" in container["state"] for container in pod["status"].get("containerStatuses", []))
        ]

    def active_jobs(self) -> list[Document]:
        """Return Jobs that have not ended."""
        return [
            job
            for job in self.objects("jobs")
            if not any(
                condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
                for condition in job["status"].get("conditions", [])
            )
        ]

    def results(self) -> dict[int, Result]:
        """Return the first result of everybody that has one; what is no result is left out."""
        found: dict[int, Result] = {}
        for key in self.store.list(keys.RESULTS):
            with suppress(MissingObject, ValueError):
                result = Result.model_validate_json(self.store.get(key))
                found.setdefault(result.id, result)
        return found

    def children(self) -> int:
        """Return how many children have a result."""
        return sum(1 for key in self.store.list(keys.RESULTS)) - len(self.manifest["spec"]["experts"])

    def reach(self, what: str, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for a condition of the run; a run that fails meanwhile will not reach it."""
        deadline = time.monotonic() + seconds
        if condition():
            return
        had_failed = self.has_failed()
        while not condition():
            if not had_failed and self.has_failed() and not condition():
                raise AssertionError(f"{self.name}: waiting for {what}, but it failed: {self.condition('Failed')[2]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: {what} did not happen within {seconds} s")
            time.sleep(POLL_SECONDS)

    def has_failed(self) -> bool:
        """Return whether the operator gave the run up."""
        return bool(self.status().get("state") == "Failed")

    def reach_state(self, *states: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the status says one of these states for the present spec."""

        def reached() -> bool:
            body = self.body()
            status = body.get("status", {})
            current = status.get("observedGeneration") == body.get("metadata", {}).get("generation")
            return current and status.get("state") in states

        self.reach(f"the state {' or '.join(states)}", reached, seconds)

    def reach_condition(self, kind: str, status: str, reason: str = "", seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for a condition and return its message."""
        message = ""

        def reached() -> bool:
            nonlocal message
            found, why, message = self.condition(kind)
            return found == status and (not reason or why == reason)

        self.reach(f"the condition {kind}={status} {reason}", reached, seconds)
        return message

    def reach_children(self, count: int) -> None:
        """Wait until so many children have a result."""
        self.reach(f"{count} children", lambda: self.children() >= count)

    def reach_calm(self, seconds: float = 60) -> None:
        """Wait until no worker runs."""
        self.reach("the end of all pods", lambda: not self.busy_pods(), seconds)

    def failures(self) -> list[Document]:
        """Return the notes about workers that failed."""
        return [json.loads(self.store.get(key)) for key in self.store.list(keys.FAILURES)]

    def first_result(self, individual: int) -> Result:
        """Return the first result of an individual. Raises MissingObject, BadData."""
        key = keys.result(individual)
        return read_result(self.store.get(key), key)


@dataclass
class Scene:
    """One scenario's own part of the world.

    Attributes:
        world: shared with all others.
        runs: that it made, so that they can be told about if it fails, and removed.
    """

    world: World
    runs: list[Run] = field(default_factory=list)

    @cached_property
    def folder(self) -> Path:
        """A folder of its own on this machine."""
        return Path(tempfile.mkdtemp(dir=self.world.folder))

    def tiny_run(self, name: str, edits: Edits | None = None, *, knows_experts: bool = True) -> Run:
        """Make a run of tiny models that is not applied yet.

        Args:
            name: of the run, unique in the suite.
            edits: of its manifest, by path.
            knows_experts: whether its experts are prepared and evaluated, so that it begins with breeding.
        """
        storage = {"uri": f"{self.world.uri}/{name}", "credentialsSecretName": SECRET}
        spec = self.world.tiny.spec(storage)
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        run = self.add(edited(manifest, edits or {}))
        if knows_experts:
            self.world.tiny.give_experts(run.store)
        return run

    def add(self, manifest: Document, credentials: Credentials | None = None) -> Run:
        """Return the run of a manifest, which is not applied yet."""
        run = Run(self.world, manifest["metadata"]["name"], manifest, credentials)
        self.runs.append(run)
        return run

    def close(self) -> None:
        """Delete the runs; their Jobs and pods go with them."""
        for run in self.runs:
            run.delete(wait=False)
