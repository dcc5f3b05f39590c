"""An API server in memory: as much of one as the operator asks for, with its refusals.

It is reached directly (:class:`LocalCluster`, fast) or over HTTP (tests/operator/test_cluster.py). What the rest of a
cluster does, Jobs' controller, kubelets and workers, is tests/operator/world.py.
"""

from __future__ import annotations

import itertools
import json
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from kubernetes.aio import client

from cycleqd.api import API_VERSION, KIND
from cycleqd_operator.cluster import PLURAL, Cluster, ClusterUnreachable, Refused, _refusal
from cycleqd_operator.conditions import timestamp

Body = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace, name."""

_PATH = re.compile(
    r"/apis?(?:/[a-z0-9.]+)?/v[a-z0-9]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"(?:/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>status))?)?)?"
)
_PATCH_TYPES = {True: "application/json-patch+json", False: "application/merge-patch+json"}


class Refusal(Exception):
    """What the server answers instead of an object."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiServer:
    """Objects by kind, namespace and name, and whoever watches them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.objects: dict[Key, Body] = {}
        self.events: list[Body] = []
        self.statuses: list[Body] = []
        self.requests: list[str] = []
        self.watchers: list[Callable[[str, str, Body], None]] = []
        self.has_definition = True
        self.refuses: dict[str, tuple[int, str]] = {}
        """Answer to creating an object of this kind."""
        self._clock = clock
        self._numbers = itertools.count(1)

    def add(self, plural: str, body: Body) -> Body:
        """Create an object as a user or a controller does; return the server's own copy."""
        metadata = body["metadata"]
        key = plural, metadata["namespace"], metadata["name"]
        if key in self.objects:
            raise Refusal(409, f'{plural} "{metadata["name"]}" already exists')
        number = next(self._numbers)
        own: Body = _copy(body)
        own["metadata"] |= {
            "uid": metadata.get("uid", f"uid-{number:05d}"),
            "creationTimestamp": timestamp(self._clock()),
            "generation": 1,
            "resourceVersion": str(number),
        }
        self.objects[key] = own
        self._tell("ADDED", plural, own)
        return own

    def change(self, plural: str, own: Body) -> None:
        """Give a changed object a new version, and tell the watchers."""
        own["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._tell("MODIFIED", plural, own)

    def remove(self, plural: str, own: Body) -> None:
        """Delete an object at once, and what it owns as Kubernetes' garbage collector does: pods may take a while."""
        del self.objects[plural, own["metadata"]["namespace"], own["metadata"]["name"]]
        self._tell("DELETED", plural, own)
        for kind in ("jobs", "pods"):
            for owned in self.all(kind):
                owners = owned["metadata"].get("ownerReferences", ())
                if all(owner["uid"] != own["metadata"]["uid"] for owner in owners):
                    continue
                if kind == "jobs" or owned["status"]["phase"] in ("Succeeded", "Failed"):
                    self.remove(kind, owned)
                else:
                    owned["metadata"].setdefault("deletionTimestamp", timestamp(self._clock()))

    def all(self, plural: str) -> list[Body]:
        """Return the server's own copies of all objects of a kind, in the order of their names."""
        return [own for (kind, _, _), own in sorted(self.objects.items()) if kind == plural]

    def find(self, plural: str, name: str, namespace: str = "research") -> Body:
        return self.objects[plural, namespace, name]

    def answer(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None, content: str = ""
    ) -> tuple[int, Body]:
        """Return what the server answers: HTTP status and body."""
        self.requests.append(f"{method} {path}")
        try:
            found = self._do(method, path, query or {}, body, content)
        except Refusal as refusal:
            status = {"kind": "Status", "status": "Failure", "message": str(refusal), "code": refusal.status}
            return refusal.status, status
        return (201 if method == "POST" else 200), _copy(found)

    def _do(self, method: str, path: str, query: dict[str, str], body: Any, content: str) -> Body:
        match = _PATH.fullmatch(path)
        if match is None:
            raise Refusal(404, "the server could not find the requested resource")
        namespace, plural, name, sub = match["namespace"], match["plural"], match["name"], match["sub"]
        if plural in {None, PLURAL} and not self.has_definition:
            raise Refusal(404, "the server could not find the requested resource")
        if plural is None:
            return {"kind": "APIResourceList", "resources": []}
        if method == "POST":
            return self._create(plural, namespace, body)
        if name is None:
            return self._list(plural, namespace, query)
        own = self.objects.get((plural, namespace, name))
        if own is None:
            raise Refusal(404, f'{plural} "{name}" not found')
        if method == "GET":
            return own
        if method == "DELETE":
            return self._delete(plural, own, body)
        return self._patch(plural, own, body, sub, content)

    def _create(self, plural: str, namespace: str, body: Body) -> Body:
        if plural in self.refuses:
            raise Refusal(*self.refuses[plural])
        if plural == "events":
            if len(body["note"].encode()) > 1024 or not body["metadata"]["generateName"]:
                raise Refusal(422, "Event is invalid")
            self.events.append(body)
            return body
        if body["metadata"]["namespace"] != namespace:
            raise Refusal(400, "the namespace of the provided object does not match the namespace sent")
        return self.add(plural, body)

    def _list(self, plural: str, namespace: str | None, query: dict[str, str]) -> Body:
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        items = [
            own
            for own in self.all(plural)
            if namespace in {None, own["metadata"]["namespace"]}
            and wanted.items() <= own["metadata"].get("labels", {}).items()
        ]
        start = int(query.get("continue") or 0)
        end = start + int(query.get("limit", len(items) or 1))
        more = {"continue": str(end)} if end < len(items) else {}
        return {"kind": "List", "metadata": more, "items": items[start:end]}

    def _delete(self, plural: str, own: Body, options: Body | None) -> Body:
        metadata = own["metadata"]
        uid = (options or {}).get("preconditions", {}).get("uid", metadata["uid"])
        if uid != metadata["uid"]:
            raise Refusal(409, f"the UID in the precondition ({uid}) does not match the UID in record")
        if not metadata.get("finalizers"):
            self.remove(plural, own)
        elif "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = timestamp(self._clock())
            metadata["generation"] += 1
            self.change(plural, own)
        return own

    def _patch(self, plural: str, own: Body, patch: Any, sub: str | None, content: str) -> Body:
        if content != _PATCH_TYPES[isinstance(patch, list)]:
            raise Refusal(415, f"the body of the request was in an unknown format - {content}")
        if sub == "status":
            for operation in patch:
                if (operation["op"], operation["path"]) != ("add", "/status"):
                    raise Refusal(422, f"unexpected operation {operation['op']} {operation['path']}")
                own["status"] = _copy(operation["value"])
                self.statuses.append(_copy(operation["value"]))
        else:
            version = patch["metadata"].get("resourceVersion", own["metadata"]["resourceVersion"])
            if version != own["metadata"]["resourceVersion"]:
                raise Refusal(409, "the object has been modified; please apply your changes to the latest version")
            own["metadata"]["finalizers"] = list(patch["metadata"]["finalizers"])
            if "deletionTimestamp" in own["metadata"] and not own["metadata"]["finalizers"]:
                self.remove(plural, own)
                return own
        self.change(plural, own)
        return own

    def _tell(self, event: str, plural: str, own: Body) -> None:
        for watcher in self.watchers:
            watcher(event, plural, _copy(own))


class LocalCluster(Cluster):
    """The operator's own client, with function calls in place of HTTP."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__(cast(client.ApiClient, None))
        self.server = server
        self.away: Iterator[bool] = itertools.repeat(False)
        """For each request, whether the server does not answer it."""
        self.deaf: Iterator[bool] = itertools.repeat(False)
        """For each request, whether the server does it, and the answer is lost."""
        self.forbidden = 0
        """How many of the next requests the server refuses."""

    async def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, str] | None = None,
        content: str = "application/json",
    ) -> Body:
        if next(self.away):
            raise ClusterUnreachable(f"The API server did not answer {method} {path} (connection refused).")
        if self.forbidden:
            self.forbidden -= 1
            raise Refused(f"The API server refused {method} {path} (403): you may not do that")
        status, answer = self.server.answer(method, path, query, json.loads(json.dumps(body)), content)
        if next(self.deaf):
            raise ClusterUnreachable(f"The API server did not answer {method} {path} (connection reset).")
        if status < 400:
            return answer
        raise _refusal(status, f"{method} {path}", json.dumps(answer).encode())


def _copy(value: Any) -> Any:
    """Return a deep copy; pickle makes it several times faster than :mod:`copy`."""
    return pickle.loads(pickle.dumps(value))


def run_body(name: str, spec: Body, **metadata: Any) -> Body:
    """Return a CycleQDRun as a user applies it."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": "research", **metadata},
        "spec": spec,
    }
