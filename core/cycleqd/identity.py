"""The run's identity: ``run.json``, written once. A store belongs to the run that claimed it first."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from cycleqd import __version__, keys
from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.errors import BadData, MissingObject, RunMismatch
from cycleqd.records import Record
from cycleqd.store import ObjectStore

IMMUTABLE = ("baseModel", "experts", "tasks", "search", "storage")
"""Parts of the spec that decide the results; ``search.children`` and ``storage.credentialsSecretName`` may change."""


class RunIdentity(Record):
    """Which run a store belongs to."""

    uid: str
    name: str
    spec: dict[str, Any]
    """The spec as the run was first started with, camelCase."""
    created_at: float
    """Unix time in seconds."""
    version: str
    """Version of cycleqd that started the run."""


def immutable_part(spec: RunSpec) -> dict[str, Any]:
    """Return the fields that may not change during a run, camelCase."""
    return immutable_fields(spec.model_dump(mode="json", by_alias=True))


def immutable_fields(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a spec, camelCase, that may not change during a run."""
    part = {name: whole[name] for name in IMMUTABLE}
    part["search"] = {name: value for name, value in part["search"].items() if name != "children"}
    part["storage"] = {name: value for name, value in part["storage"].items() if name != "credentialsSecretName"}
    return part


def claim(store: ObjectStore, run: CycleQDRun) -> RunIdentity:
    """Make ``run`` the owner of the store, or find that it already is; record its present spec for the workers.

    Raises:
        RunMismatch: the store holds a run with other immutable fields.
    """
    spec = run.spec.model_dump(mode="json", by_alias=True)
    identity = RunIdentity(
        uid=run.metadata.uid or str(uuid.uuid4()),
        name=run.metadata.name,
        spec=spec,
        created_at=time.time(),
        version=__version__,
    )
    if not store.put_once(keys.RUN, identity.model_dump_json(indent=1).encode()):
        identity = read_identity(store)
        check_same_run(store, identity, run.spec)
    store.put(keys.SPEC, run.spec.model_dump_json(by_alias=True, indent=1).encode())
    return identity


def check_same_run(store: ObjectStore, identity: RunIdentity, spec: RunSpec) -> None:
    """Refuse a manifest that is not the one that the run in ``store`` was started with.

    Raises:
        RunMismatch: an immutable field differs.
    """
    difference = _first_difference(immutable_part(RunSpec.model_validate(identity.spec)), immutable_part(spec))
    if difference:
        path, before, now = difference
        raise RunMismatch(
            f"{store.uri} holds the run {identity.name} with {path} = {before!r}, but the manifest says {now!r}: "
            "use another storage.uri, or the manifest that the run was started with."
        )


def read_identity(store: ObjectStore) -> RunIdentity:
    """Return whose store it is.

    Raises:
        BadData: there is no run in the store, or its identity is damaged.
    """
    try:
        return RunIdentity.model_validate_json(store.get(keys.RUN))
    except MissingObject as error:
        raise BadData(f"{store.uri} holds no run ({keys.RUN} is missing): name the storage.uri of a run.") from error
    except ValueError as error:
        raise BadData(f"{keys.RUN} in {store.uri} is damaged: restore it from the manifest.") from error


def read_spec(store: ObjectStore) -> RunSpec:
    """Return the spec as the executor or the operator last recorded it."""
    read_identity(store)
    return RunSpec.model_validate_json(store.get(keys.SPEC))


class _Recorded(Record):
    """What workers look at again and again in the recorded spec, whichever version wrote the rest of it."""

    desired_state: Annotated[str, Field(alias="desiredState")]


def read_desired_state(store: ObjectStore) -> str:
    """Return ``desiredState`` of the spec as it was last recorded. One request.

    Raises:
        BadData: the recorded spec is damaged.
    """
    try:
        return _Recorded.model_validate_json(store.get(keys.SPEC)).desired_state
    except ValueError as error:
        raise BadData(f"{keys.SPEC} in {store.uri} is damaged: restore it by starting the run again.") from error


def _first_difference(before: object, now: object, path: str = "spec") -> tuple[str, object, object] | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            found = _first_difference(before.get(name), now.get(name), f"{path}.{name}")
            if found:
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now, strict=True)):
            found = _first_difference(*pair, f"{path}[{index}]")
            if found:
                return found
        return None
    return None if before == now else (path, before, now)
