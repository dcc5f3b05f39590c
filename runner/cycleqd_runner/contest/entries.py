"""A comparison that has been read: its manifest, who takes part, and the run that each of its methods is. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cycleqd.api import CycleQDRun
from cycleqd.api.tasks import ProceduralEvaluator
from cycleqd.errors import BadManifest, near_misses
from cycleqd.identity import immutable_fields
from cycleqd.manifest import load_manifest, parse_manifest, read_document, validated
from cycleqd.placing import beside
from cycleqd.store import ObjectStore, open_store
from cycleqd_runner.contest.fingerprints import counted
from cycleqd_runner.contest.spec import (
    KIND,
    ContestFile,
    ContestSpec,
    CycleQD,
    LoraOnTrainingData,
    Method,
    Taught,
)

PLAIN = CycleQD(name="shared", type="CycleQD")
"""The manifest's run as it is."""
SHARED = CycleQD(name="shared", type="CycleQD", search={"mutation": {"type": "Svd", "basis": "Child"}})
"""The run that holds what all methods of a seed share: its genomes are cores."""


@dataclass(frozen=True)
class Part:
    """What of a comparison one process plays; empty: all.

    Attributes:
        methods: names, also of those who take part anyway.
        seeds: of the file's.
    """

    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def has(self, method: str, seed: int) -> bool:
        """Return whether a trial is part of it."""
        return method in (self.methods or (method,)) and seed in (self.seeds or (seed,))


ALL = Part()
"""Of every method and seed."""


@dataclass(frozen=True)
class Contest:
    """A valid comparison.

    Attributes:
        name: of the comparison.
        spec: what the user wants.
        manifest: that all methods share.
        written: the same with the addresses as its files have them; None: these are they.
    """

    name: str
    spec: ContestSpec
    manifest: CycleQDRun
    written: Contest | None = None

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of those who take part without searching: the base model, each expert, the plain average."""
        return ("base", *(expert.name for expert in self.manifest.spec.experts), "average")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all who take part, in the order of the tables."""
        return (*self.fixed, *(method.name for method in self.spec.methods))

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Return the seeds that somebody is played with, in the order of the file."""
        wanted = {method.name: method.seeds for method in self.spec.methods}.get(name) or self.spec.seeds
        return tuple(seed for seed in self.spec.seeds if seed in wanted)

    def refuse_strangers(self, part: Part) -> None:
        """Raise BadManifest if a part names a method or a seed that does not take part."""
        for name in part.methods:
            if name not in self.names:
                raise BadManifest(f"No method of the comparison is called {name}{near_misses(name, self.names)}.")
        for seed in part.seeds:
            if seed not in self.spec.seeds:
                seeds = ", ".join(map(str, self.spec.seeds))
                raise BadManifest(f"Seed {seed} does not take part: expected one of {seeds}.")

    @property
    def store(self) -> ObjectStore:
        """Where the records and tables lie."""
        return open_store(self.spec.storage.uri)

    def uri(self, seed: int, method: CycleQD | None) -> str:
        """Return the storage of one method's run with one seed; without a method, of what all methods share."""
        part = f"methods/{method.name}" if method else "shared"
        return f"{self.spec.storage.uri.rstrip('/')}/seeds/{seed}/{part}"

    def run(self, seed: int, method: CycleQD | None, children: int = 0) -> CycleQDRun:
        """Return the run of one method with one seed; without a method the one that holds what is shared.

        What is shared includes the lessons, and genomes are cores there: the larger of the two spans, so that whoever
        learns can learn as much as ours.

        Raises:
            BadManifest: what the method changes makes no valid run.
        """
        if method is None:
            return self._run(seed, None, SHARED, children, lessons=self.spec.lessons)
        run = self._run(seed, method, method, children, lessons=self.spec.lessons if method.lessons else 0)
        learns = run.spec.search.emitter.type == "Guided" or run.spec.finalize.polish_steps > 0
        return run if learns else self._run(seed, method, method, children, lessons=0)

    def _run(
        self, seed: int, method: CycleQD | None, differences: CycleQD, children: int, *, lessons: int
    ) -> CycleQDRun:
        """Return the manifest's run with differences, in the storage of ``method``."""
        whole = self.manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
        spec: dict[str, Any] = whole["spec"]
        spec["search"] = changed(spec["search"], differences.search) | {"seed": seed, "children": children}
        spec["finalize"] = changed(spec["finalize"], differences.finalize)
        spec["storage"] |= {"uri": self.uri(seed, method)}
        spec["desiredState"] = "Running"
        for task in spec["tasks"]:
            task["items"] |= {"lessons": lessons}
        # A method may propose its next model only when it knows what the last one scored, and what that cost.
        spec["engine"]["args"] |= {"concurrentChildren": 1}
        whole["metadata"] = {"name": f"{self.name}-{differences.name}-{seed}"}
        return validated(CycleQDRun, whole, None, f"Method {differences.name}")

    def is_taught(self, method: Method) -> bool:
        """Return whether a method learns from the experts' answers to the lessons, and so pays for them."""
        if isinstance(method, CycleQD):
            return any(task.items.lessons for task in self.run(0, method).spec.tasks)
        return isinstance(method, Taught) and method.lessons and self.spec.lessons > 0

    def fingerprint(self, seed: int, method: Method | None) -> str:
        """Return a digest of all that decides what a method reaches with a seed; folders may be moved as a whole."""
        if self.written:
            by_name = {one.name: one for one in self.written.spec.methods}
            return self.written.fingerprint(seed, by_name[method.name] if method else None)
        if isinstance(method, CycleQD):
            run = self.run(seed, method)
        elif isinstance(method, Taught):
            run = self._run(seed, None, SHARED, 0, lessons=self.spec.lessons if method.lessons else 0)
        else:  # neither lessons nor cores decide anything
            run = self._run(seed, None, PLAIN, 0, lessons=0)
        parts = {
            "run": immutable_fields(counted(run.spec)),
            "method": method.model_dump(mode="json", exclude={"seeds"}, exclude_defaults=True) if method else None,
            "budget": counted(self.spec.budget) if method else None,
            "finalists": self.spec.finalists if method and not isinstance(method, CycleQD) else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def changed(old: Mapping[str, Any], differences: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of a manifest with some fields replaced, also inside of its objects."""
    new = dict(old)
    for field, value in differences.items():
        before = old.get(field)
        if isinstance(before, dict) and isinstance(value, dict) and value.get("type") in (None, before.get("type")):
            new[field] = changed(before, value)
        else:
            new[field] = value
    return new


def is_contest(path: Path) -> bool:
    """Return whether a file says of itself that it is a comparison. Raises BadManifest if it cannot be read."""
    return read_document(path, f"{KIND} or CycleQDRun").get("kind") == KIND


def load_contest(path: Path, *, here: bool = True) -> Contest:
    """Read and validate the file of a comparison.

    Args:
        path: of the file.
        here: relative URIs in it and in its manifest become absolute, each from its own folder; otherwise they stay
            as they are, for another place.

    Raises:
        BadManifest: the file, its manifest, or what one of its methods changes in it is not valid.
    """
    origin = f"The comparison {path}"
    document = read_document(path, KIND)
    file = validated(ContestFile, document, beside(path.parent), origin)
    manifest = Path(file.spec.manifest)
    contest = Contest(file.metadata.name, file.spec, load_manifest(manifest))
    _check(contest, origin)
    file = validated(ContestFile, document, None, origin)
    written = Contest(file.metadata.name, file.spec, parse_manifest(read_document(manifest, "CycleQDRun")))
    return replace(contest, written=written) if here else written


def _check(contest: Contest, origin: str) -> None:
    """Refuse names that do not fit together, and methods that make no valid run."""
    names = contest.names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadManifest(
            f"{origin}: the name {twice[0]} is used twice (base, average and the experts take part anyway): "
            "give each method its own name."
        )
    if contest.spec.reference not in names:
        hint = near_misses(contest.spec.reference, names)
        raise BadManifest(f"{origin}: spec.reference is {contest.spec.reference}, who does not take part{hint}.")
    for method in contest.spec.methods:
        if isinstance(method, CycleQD):
            contest.run(max(contest.spec.seeds), method)
        if isinstance(method, LoraOnTrainingData):
            _check_data(contest, method, origin)


def _check_data(contest: Contest, method: LoraOnTrainingData, origin: str) -> None:
    """Refuse training data that nobody knows, or that belong to no task."""
    tasks = contest.manifest.spec.tasks
    names = [task.name for task in tasks]
    for name in method.data:
        if name not in names:
            hint = near_misses(name, names)
            raise BadManifest(f"{origin}: method {method.name} has data of {name}, which is no task{hint}.")
    for task in tasks:
        generated = isinstance(task.evaluator, ProceduralEvaluator) and task.evaluator.data is None
        if not generated and task.name not in method.data:
            raise BadManifest(
                f"{origin}: method {method.name} has no training data of task {task.name}, whose items are not "
                f"generated: name a JSON Lines file of messages and answer in its data.{task.name}."
            )
