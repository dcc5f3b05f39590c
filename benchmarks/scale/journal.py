"""When what happened in the cluster, as a watcher beside the operator sees it: Jobs that begin and end, statuses."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from benchmarks.scale.scene import Scene
from cycleqd_operator.labels import ROLE, RUN, SELECTOR

ENDS = ("Complete", "Failed")


@dataclass
class Journal:
    """What happened, in seconds of :func:`time.monotonic`, by run.

    Attributes:
        scene: that is watched.
        began: when each breeding Job appeared.
        ended: when each of them was seen to be Complete or Failed.
        statuses: when another status was seen.
        states: of the runs, as last seen.
        failed: names of Jobs that failed, whatever they did.
    """

    scene: Scene
    began: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ended: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    states: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    async def watch_jobs(self) -> None:
        """Note the Jobs, for ever."""
        seen: set[str] = set()
        over: set[str] = set()
        async for _, job in self.scene.api.watch(self.scene.jobs, SELECTOR):
            now, metadata = time.monotonic(), job["metadata"]
            run, uid = metadata["labels"][RUN], metadata["uid"]
            conditions = job.get("status", {}).get("conditions", ())
            ends = {condition["type"] for condition in conditions if condition["status"] == "True"}
            if "Failed" in ends:
                self.failed.add(metadata["name"])
            if metadata["labels"][ROLE] != "breed":
                continue
            if uid not in seen:
                seen.add(uid)
                self.began[run].append(now)
            if uid not in over and ends.intersection(ENDS):
                over.add(uid)
                self.ended[run].append(now)

    async def watch_runs(self) -> None:
        """Note the statuses, for ever."""
        known: dict[str, object] = {}
        async for event, run in self.scene.api.watch(self.scene.runs):
            name, status = run["metadata"]["name"], run.get("status")
            if event == "DELETED" or status is None or known.get(name) == status:
                continue
            known[name] = status
            self.states[name] = status["state"]
            self.statuses[name].append(time.monotonic())

    @property
    def running(self) -> int:
        """Breeding Jobs that have begun and not ended."""
        return sum(len(began) for began in self.began.values()) - sum(len(ended) for ended in self.ended.values())

    def gaps(self, runs: list[str], parallelism: int, since: float, until: float) -> list[float]:
        """Return the seconds from each end of a Job within a span of time to the beginning of its successor.

        A run keeps ``parallelism`` Jobs: the k-th to end is succeeded by the one that begins as number
        ``parallelism + k``, whichever that is. Only for runs that have work left.
        """
        found = []
        for run in runs:
            successors = self.began[run][parallelism:]
            ends = self.ended[run][: len(successors)]
            found += [began - ended for ended, began in zip(ends, successors, strict=False) if since <= ended <= until]
        return found

    def writes_per_five_seconds(self, since: float, until: float) -> float:
        """Return how often the status of the run that was written most was written, per five seconds."""
        most = 0.0
        for times in self.statuses.values():
            inside = [at for at in times if since <= at <= until]
            if len(inside) > 1:  # n writes have n - 1 intervals
                most = max(most, 5 * (len(inside) - 1) / (inside[-1] - inside[0]))
        return most
