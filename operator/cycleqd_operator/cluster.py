"""The API server, as the operator needs it. Nothing else in the operator talks to it, kopf's watches aside.

The official client's connection, credentials and TLS are used, with plain dicts in place of its models: two thousand
Jobs as models would cost hundreds of megabytes. What the server's refusals mean is translated here.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.config import ConfigException

from cycleqd.api import API_VERSION, GROUP, KIND, VERSION
from cycleqd.errors import MissingInput, PermanentError, TemporaryError
from cycleqd_operator.conditions import Event
from cycleqd_operator.labels import COMPONENT_WORKER, RUN_UID, SELECTOR
from cycleqd_operator.run_ref import RunRef

Body = dict[str, Any]

TIMEOUT_SECONDS = 30
"""Of one request. The API server answers within a second or is in trouble."""
REQUESTS_AT_ONCE = 20
"""Each is a connection of its own, with 0.4 MiB of buffers; others wait, and their time does not run yet."""
PAGE = 100
"""Objects in one answer to a listing."""
PLURAL = "cycleqdruns"


class ClusterUnreachable(TemporaryError):
    """The API server did not answer."""


class Refused(PermanentError):
    """The API server answered that it will not do that."""


class NameTaken(PermanentError):
    """There is an object of that name."""


class Gone(PermanentError):
    """There is no object of that name (any more)."""


async def connect() -> client.ApiClient:
    """Return a client: the pod's own service account, or what KUBECONFIG says outside a cluster.

    Raises:
        MissingInput: there is neither.
    """
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]  # the client's own
    except ConfigException:
        try:
            await config.load_kube_config()  # type: ignore[no-untyped-call]  # the client's own
        except ConfigException as error:
            raise MissingInput(f"There is no cluster to serve ({error}): run in a pod, or set KUBECONFIG.") from error
    return client.ApiClient()


class Cluster:
    """One API server."""

    def __init__(self, api: client.ApiClient) -> None:
        """Use a connected client. No request is sent yet."""
        self._api = api
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def check_definition(self) -> None:
        """Make sure that the server knows what a CycleQDRun is.

        Raises:
            ClusterUnreachable: not yet, or it cannot be asked.
        """
        try:
            await self._request("GET", f"/apis/{GROUP}/{VERSION}")
        except Gone as error:
            raise ClusterUnreachable(
                f"The cluster knows no {KIND} ({GROUP}/{VERSION}): install the CustomResourceDefinition."
            ) from error

    async def create_job(self, job: Body) -> Body:
        """Create a Job and return it as the server holds it. Raises :class:`NameTaken`, :class:`Refused`."""
        strict = {"fieldValidation": "Strict"}  # otherwise a misspelt field of a run's pod template would be dropped
        return await self._request("POST", _jobs(job["metadata"]["namespace"]), job, query=strict)

    async def job(self, namespace: str, name: str) -> Body:
        """Return a Job. Raises :class:`Gone`."""
        return await self._request("GET", f"{_jobs(namespace)}/{name}")

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete the Job with this uid and its pods; one that is gone or another one of that name is left alone."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", f"{_jobs(namespace)}/{name}", options)
        except (Gone, NameTaken):  # a failed precondition is a conflict, too
            return

    async def jobs(self, namespaces: Iterable[str]) -> AsyncIterator[Body]:
        """Yield all our Jobs in these namespaces, or everywhere if there are none, a page in memory at a time."""
        for path in [_jobs(namespace) for namespace in namespaces] or ["/apis/batch/v1/jobs"]:
            query = {"labelSelector": SELECTOR, "limit": str(PAGE)}
            while True:
                page = await self._request("GET", path, query=query)
                for job in page["items"]:
                    yield job
                query["continue"] = page["metadata"].get("continue", "")
                if not query["continue"]:
                    break

    async def pods_of_job(self, namespace: str, job: str) -> list[Body]:
        """Return a Job's pods, the oldest first."""
        return await self._pods(namespace, f"batch.kubernetes.io/job-name={job}")

    async def pods_of_run(self, run: RunRef) -> list[Body]:
        """Return all worker pods of a run, those that are on their way out included."""
        return await self._pods(run.namespace, f"{RUN_UID}={run.uid},{COMPONENT_WORKER}")

    async def _pods(self, namespace: str, selector: str) -> list[Body]:
        answer = await self._request("GET", f"/api/v1/namespaces/{namespace}/pods", query={"labelSelector": selector})
        return sorted(answer["items"], key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    async def secret(self, namespace: str, name: str) -> dict[str, str]:
        """Return a Secret's keys and their texts. Raises :class:`Gone`."""
        secret = await self._request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return {key: b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()}

    async def write_status(self, run: RunRef, status: Body) -> None:
        """Replace a run's status. Raises :class:`Gone`."""
        operations = [{"op": "add", "path": "/status", "value": status}]
        await self._request("PATCH", f"{_run(run)}/status", operations, content="application/json-patch+json")

    async def set_finalizers(self, run: RunRef, finalizers: list[str], resource_version: str) -> None:
        """Replace a run's finalizers, unless somebody changed the run. Raises :class:`Gone`, :class:`NameTaken`."""
        metadata = {"finalizers": finalizers, "resourceVersion": resource_version}
        await self._request("PATCH", _run(run), {"metadata": metadata}, content="application/merge-patch+json")

    async def delete_run(self, run: RunRef) -> None:
        """Delete a run; its Jobs go with it. One that is gone is no error."""
        try:
            await self._request("DELETE", _run(run), {"preconditions": {"uid": run.uid}})
        except (Gone, NameTaken):
            return

    async def record(self, run: RunRef, event: Event) -> None:
        """Record an event of a run."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        reference = {"apiVersion": API_VERSION, "kind": KIND, "name": run.name, "namespace": run.namespace}
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{run.name}-", "namespace": run.namespace},
            "regarding": {**reference, "uid": run.uid},
            "eventTime": now,
            "reportingController": "cycleqd-operator",
            "reportingInstance": "cycleqd-operator",
            "action": event.reason,
            "type": event.type,
            "reason": event.reason,
            "note": event.message[:1024],
        }
        await self._request("POST", f"/apis/events.k8s.io/v1/namespaces/{run.namespace}/events", body)

    async def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, str] | None = None,
        content: str = "application/json",
    ) -> Body:
        """Send a request and return the answer.

        Raises:
            ClusterUnreachable: no answer, or the server is overloaded or out of order.
            Gone, NameTaken, Refused: 404, 409, another refusal.
        """
        request = await self._api.param_serialize(
            method=method,
            resource_path=path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            async with self._slots:
                response = await self._api.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
                answer = await response.read()  # type: ignore[no-untyped-call]  # the client's own
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise ClusterUnreachable(f"The API server did not answer {method} {path} ({reason}).") from error
        if response.status < 400:  # noqa: PLR2004 - HTTP
            return _parsed(answer, f"{method} {path}")
        raise _refusal(response.status, f"{method} {path}", answer)


def _parsed(answer: bytes, request: str) -> Body:
    try:
        body: Body = json.loads(answer)
    except ValueError as error:  # something between us and the server answered in its place
        raise ClusterUnreachable(f"The API server did not answer {request}: what came is no JSON.") from error
    return body


def _refusal(status: int, request: str, answer: bytes) -> PermanentError | TemporaryError:
    try:
        message = str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.decode(errors="replace")[:200]
    # 401: the token is being renewed; 410: a listing took so long that it has to begin again.
    if status in {401, 408, 410, 429} or status >= 500:  # noqa: PLR2004 - HTTP
        return ClusterUnreachable(f"The API server could not do {request} ({status}: {message}).")
    kind = {404: Gone, 409: NameTaken}.get(status, Refused)
    return kind(f"The API server refused {request} ({status}): {message}")


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _run(run: RunRef) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{run.namespace}/{PLURAL}/{run.name}"
