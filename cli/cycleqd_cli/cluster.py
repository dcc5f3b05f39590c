"""The API server, as the command needs it: nothing else here talks to it, and what its refusals mean is said here.

The official client's connection, credentials and TLS are used, with plain dicts in place of its models, as in the
operator. The client takes a second to import, so it is when a cluster is reached.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from yaml import YAMLError

from cycleqd.api import GROUP, KIND, VERSION
from cycleqd.crd import PLURAL
from cycleqd.errors import AccessDenied, CycleQDError, MissingInput, PermanentError, TemporaryError, near_misses
from cycleqd.labels import CONTAINER, RUN_UID
from cycleqd_cli.where import Where

Body = dict[str, Any]

CONNECT_SECONDS = 5
READ_SECONDS = 30
"""Of one request. The API server answers within a second or is in trouble."""
DEFAULT_KUBECONFIG = "~/.kube/config"
CORE = "/api/v1"
RUNS = f"/apis/{GROUP}/{VERSION}"
JOBS = "/apis/batch/v1"


class NoCluster(PermanentError):
    """There is no kubeconfig, or it does not have what was named."""


class NoSuchRun(PermanentError):
    """There is no run of that name."""


class Gone(PermanentError):
    """The API server has nothing at that place."""


class Refused(PermanentError):
    """The API server answered that it will not do that."""


class ClusterUnreachable(TemporaryError):
    """The API server did not answer."""


@dataclass(frozen=True)
class Cluster:
    """One API server.

    Attributes:
        api: a connected client (:class:`kubernetes.client.ApiClient`).
        context: of the kubeconfig, for messages.
        namespace: that is meant where none is named.
        read_seconds: longest wait for an answer.
    """

    api: Any
    context: str
    namespace: str
    read_seconds: float = READ_SECONDS

    @classmethod
    def connect(cls, where: Where, read_seconds: float = READ_SECONDS) -> Self:
        """Read the kubeconfig; no request is sent yet.

        Raises:
            NoCluster: there is no such file or context.
        """
        from kubernetes import client, config  # noqa: PLC0415 - a second

        settings = client.Configuration()
        settings.retries = 0  # we say at once that nobody answers
        with _reading_kubeconfig(where) as file:
            chosen = _context(file, where.context)
            api = config.new_client_from_config(  # type: ignore[no-untyped-call]
                file, context=chosen["name"], persist_config=False, client_configuration=settings
            )
            namespace = where.namespace or chosen["context"].get("namespace") or "default"
            return cls(api, chosen["name"], namespace, read_seconds)

    def runs(self, *, everywhere: bool = False) -> list[Body]:
        """Return all runs of the namespace, or of all namespaces, by name.

        Raises:
            MissingInput: the cluster does not know what a run is.
        """
        place = "all namespaces" if everywhere else f"the namespace {self.namespace}"
        path = f"{RUNS}/{PLURAL}" if everywhere else self._path(RUNS, PLURAL)
        try:
            return list(self._get(path, f"list runs in {place}")["items"])
        except Gone as error:
            raise MissingInput(
                f"The cluster {self.context} knows no {KIND}: install the operator (helm install), or choose another "
                "one with --context."
            ) from error

    def run(self, name: str) -> Body:
        """Return a run.

        Raises:
            NoSuchRun: there is none; the message names similar ones.
        """
        try:
            return self._get(self._path(RUNS, PLURAL, name), f"read runs in the namespace {self.namespace}")
        except Gone as error:
            raise NoSuchRun(f"There is no run {name} in the namespace {self.namespace}{self._others(name)}.") from error

    def _others(self, name: str) -> str:
        """Return a hint at what else there is, as far as the user may see it."""
        known = [run["metadata"]["name"] for run in self.runs()]
        if known:
            return near_misses(name, known)
        where = f" of {self.context}, which has no runs"
        try:
            namespaces = self.namespaces()
        except CycleQDError:
            return f"{where}: name another one with --namespace"
        if self.namespace in namespaces:
            return f"{where}: name another one with --namespace"
        return f", which does not exist in {self.context}{near_misses(self.namespace, namespaces)}"

    def set_desired_state(self, name: str, state: str) -> Body:
        """Change what the user wants of a run, and return the run. Raises :class:`NoSuchRun`, :class:`Refused`."""
        path, what = self._path(RUNS, PLURAL, name), f"change runs in the namespace {self.namespace}"
        return self._json("PATCH", path, what, {"spec": {"desiredState": state}})

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces."""
        return [body["metadata"]["name"] for body in self._get(f"{CORE}/namespaces", "list namespaces")["items"]]

    def jobs(self, run_uid: str) -> list[Body]:
        """Return a run's Jobs that have not been cleaned up, the oldest first."""
        return self._of_run(self._path(JOBS, "jobs"), run_uid)

    def pods(self, run_uid: str) -> list[Body]:
        """Return a run's pods, the oldest first."""
        return self._of_run(self._path(CORE, "pods"), run_uid)

    def _of_run(self, path: str, run_uid: str) -> list[Body]:
        what = f"list {path.rpartition('/')[2]} in the namespace {self.namespace}"
        found = self._get(path, what, {"labelSelector": f"{RUN_UID}={run_uid}"})["items"]
        return sorted(found, key=lambda body: str(body["metadata"].get("creationTimestamp")))

    def events(self, run_uid: str) -> list[Body]:
        """Return what was told about a run, the oldest first."""
        selector = {"fieldSelector": f"involvedObject.uid={run_uid}"}
        found = self._get(self._path(CORE, "events"), f"list events in the namespace {self.namespace}", selector)
        return sorted(found["items"], key=event_time)

    def secret(self, name: str) -> dict[str, str]:
        """Return a Secret's keys and their texts. Raises :class:`Gone`."""
        secret = self._get(self._path(CORE, "secrets", name), f"read Secrets in the namespace {self.namespace}")
        return {key: b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()}

    def log(self, pod: str, *, follow: bool, tail: int | None) -> Iterator[str]:
        """Yield the lines of a worker's log; ``follow``: until it ends. Raises :class:`Gone`, :class:`Refused`."""
        query = {"container": CONTAINER, "follow": str(follow).lower()} | (
            {} if tail is None else {"tailLines": str(tail)}
        )
        what = f"read logs in the namespace {self.namespace}"
        response = self._send("GET", self._path(CORE, "pods", f"{pod}/log"), what, query, read_seconds=None)
        with self._answering(), response.response as stream:
            rest = b""
            for piece in stream.stream(decode_content=True):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if rest:
                yield rest.decode(errors="replace")

    def _path(self, group: str, plural: str, name: str = "") -> str:
        return f"{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def _get(self, path: str, what: str, query: dict[str, str] | None = None) -> Body:
        return self._json("GET", path, what, query=query)

    def _json(
        self, method: str, path: str, what: str, body: object = None, query: dict[str, str] | None = None
    ) -> Body:
        response = self._send(method, path, what, query, body, read_seconds=self.read_seconds)
        try:
            answer: Body = json.loads(response.read())
        except ValueError as error:  # something between us and the server answered in its place
            raise ClusterUnreachable(f"{self.context} did not answer with JSON: is it a Kubernetes cluster?") from error
        return answer

    def _send(
        self,
        method: str,
        path: str,
        what: str,
        query: dict[str, str] | None,
        body: object = None,
        *,
        read_seconds: float | None,
    ) -> Any:  # noqa: ANN401 - the client's response, whose content was not read yet
        request = self.api.param_serialize(
            method=method,
            resource_path=path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": "application/merge-patch+json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        with self._answering():
            response = self.api.call_api(*request, _request_timeout=(CONNECT_SECONDS, read_seconds))
            if response.status < HTTPStatus.BAD_REQUEST:
                return response
            answer = response.read()
        raise self._refusal(response.status, answer, what)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Translate what an API server that does not answer raises."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the client has brought it

        try:
            yield
        except (HTTPError, OSError) as error:
            raise ClusterUnreachable(
                f"The cluster {self.context} does not answer ({_line(error)}): check the kubeconfig and the network."
            ) from error

    def _refusal(self, status: int, answer: bytes, what: str) -> CycleQDError:
        try:
            message = str(json.loads(answer)["message"])
        except (ValueError, KeyError, TypeError):
            message = answer.decode(errors="replace")[:200]
        if status == HTTPStatus.UNAUTHORIZED:
            return AccessDenied(
                f"The cluster {self.context} does not know you ({message}): renew the credentials in the kubeconfig."
            )
        if status == HTTPStatus.FORBIDDEN:
            return AccessDenied(f"You may not {what} of {self.context}: {message}.")
        if status == HTTPStatus.NOT_FOUND:
            return Gone(f"The cluster {self.context} could not {what}: {message}.")
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ClusterUnreachable(f"The cluster {self.context} could not {what} ({status}: {message}).")
        return Refused(f"The cluster {self.context} refused to {what}: {message}.")


def read_contexts(where: Where) -> list[str]:
    """Return the names of the kubeconfig's contexts. Raises :class:`NoCluster`."""
    from kubernetes import config  # noqa: PLC0415 - a second

    with _reading_kubeconfig(where) as file:
        contexts, _ = config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
        return [context["name"] for context in contexts]


def _context(file: str, name: str | None) -> Body:
    """Return a context of a kubeconfig, or its current one."""
    from kubernetes import config  # noqa: PLC0415 - a second

    contexts, current = config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
    known: dict[str, Body] = {context["name"]: context for context in contexts}
    if name is None:
        return dict(current)
    if name not in known:
        raise NoCluster(f"The kubeconfig {file} has no context {name}{near_misses(name, known)}.")
    return known[name]


@contextmanager
def _reading_kubeconfig(where: Where) -> Iterator[str]:
    """Give the kubeconfig's path, and translate what reading it raises."""
    from kubernetes.config import ConfigException  # noqa: PLC0415 - a second

    file = where.kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    try:
        yield file
    except (ConfigException, OSError, YAMLError, KeyError, TypeError) as error:  # the client checks little
        raise NoCluster(
            f"No cluster is configured ({file}: {_line(error)}): set KUBECONFIG, or name a file with --kubeconfig."
        ) from error


def event_time(event: Body) -> str:
    """Return when something was told: which field says so depends on the API that was used."""
    return str(event.get("eventTime") or event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
