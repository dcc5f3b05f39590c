"""An API server in a thread: as much of one as the command asks for, and a kubeconfig that leads to it."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from cycleqd.labels import ROLE, RUN_UID

Body = dict[str, Any]
RUNS = "/apis/cycleqd.dev/v1alpha1"
NAMESPACE = "research"
KINDS = ("cycleqdruns", "events", "namespaces", "pods")
"""That can be listed."""


class ApiServer:
    """Objects by their paths.

    Attributes:
        objects: by path.
        logs: of pods, by name.
        refusals: by path: HTTP status and message in place of an answer.
        requests: what was asked, as ``METHOD PATH?QUERY``.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.logs: dict[str, str] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        for name in ("default", NAMESPACE):
            self.objects[f"/api/v1/namespaces/{name}"] = {"metadata": {"name": name}}

    def add(self, group: str, plural: str, name: str, **body: Any) -> Body:
        """Add an object of the namespace and return it."""
        metadata = {"name": name, "namespace": NAMESPACE, "creationTimestamp": "2026-01-01T00:00:00Z"}
        own = {**body, "metadata": metadata | body.get("metadata", {})}
        self.objects[f"{group}/namespaces/{NAMESPACE}/{plural}/{name}"] = own
        return own

    def add_run(self, name: str, status: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> Body:
        """Add a run whose operator has seen it."""
        storage = {"uri": f"s3://models/{name}", "credentialsSecretName": "s3"}
        return self.add(
            RUNS,
            "cycleqdruns",
            name,
            metadata={"uid": f"uid-of-{name}", "generation": 1},
            spec={"storage": storage, "search": {"children": 10}, **(spec or {})},
            status={"observedGeneration": 1, **status},
        )

    def add_pod(self, name: str, run: str, role: str, phase: str, log: str = "") -> None:
        """Add a worker's pod."""
        labels = {RUN_UID: f"uid-of-{run}", ROLE: role}
        self.add("/api/v1", "pods", name, metadata={"labels": labels}, status={"phase": phase})
        self.logs[name] = log

    def add_secret(self, name: str, texts: Mapping[str, str]) -> None:
        """Add a Secret."""
        self.add(
            "/api/v1", "secrets", name, data={key: b64encode(text.encode()).decode() for key, text in texts.items()}
        )

    def answer(self, method: str, path: str, query: Mapping[str, str], patch: Body) -> tuple[int, Body | str]:
        """Return status and answer."""
        if path in self.refusals:
            status, message = self.refusals[path]
            return status, {"message": message}
        if path.endswith("/log"):
            lines = self.logs[path.split("/")[-2]].splitlines(keepends=True)
            return 200, "".join(lines[len(lines) - int(query["tailLines"]) :] if "tailLines" in query else lines)
        if path in self.objects:
            if method == "PATCH":
                self.objects[path]["spec"] |= patch["spec"]
                self.objects[path]["metadata"]["generation"] += 1
            return 200, self.objects[path]
        parent, _, plural = path.rpartition("/")
        if plural not in KINDS:
            return 404, {"message": f'"{plural}" not found'}
        everywhere = "/namespaces/" not in path and plural != "namespaces"
        items = [body for known, body in sorted(self.objects.items()) if _is_of(known, parent, plural, everywhere)]
        return 200, {"items": [body for body in items if _matches(body, query)]}


def _is_of(path: str, parent: str, plural: str, everywhere: bool) -> bool:
    folder = path.rpartition("/")[0]
    return folder.endswith(f"/{plural}") and (folder == f"{parent}/{plural}" or everywhere)


def _matches(body: Body, query: Mapping[str, str]) -> bool:
    label, _, value = query.get("labelSelector", "").partition("=")
    field, _, uid = query.get("fieldSelector", "").partition("=")
    involved = body.get("involvedObject", {}).get("uid")
    return (not label or body["metadata"].get("labels", {}).get(label) == value) and (not field or involved == uid)


@contextmanager
def serving(server: ApiServer, kubeconfig: Path) -> Iterator[None]:
    """Serve, and write the kubeconfig of somebody whose namespace is ``research``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            server.requests.append(f"{self.command} {self.path}")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = server.answer(self.command, parts.path, query, json.loads(content or b"{}"))
            written = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_PATCH = do_GET  # noqa: N815 - the base class wants it

        def log_message(self, *arguments: Any) -> None:
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    contexts = [
        {"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": NAMESPACE}},
        {"name": "plain", "context": {"cluster": "lab", "user": "me"}},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{http.server_port}"}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": contexts,
    }
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        yield
    finally:
        http.shutdown()
        http.server_close()
