"""The cluster in ``KUBECONFIG``, through the real ``kubectl``: what users type is what is tested.

Any cluster will do whose user may install definitions and make namespaces. conftest.py has what files share.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, ApiException, CustomObjectsApi
from kubernetes.config import new_client_from_config
from urllib3.exceptions import HTTPError

from cycleqd.api import GROUP, VERSION
from cycleqd.crd import COPIES, PLURAL

Manifest = dict[str, Any]

DEFINITION = Path(__file__).parents[2] / next(iter(COPIES))

REQUEST_SECONDS = 60.0
"""Beyond this, kubectl is stuck."""


class KubectlFailed(Exception):
    """A command that the test relies on did not work."""


@dataclass(frozen=True)
class Kubectl:
    """One kubectl with the cluster that it talks to."""

    binary: str = "kubectl"
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = REQUEST_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run any command and return what it said, whatever its exit code."""
        return subprocess.run(
            [self.binary, *arguments],
            input=stdin,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def must(self, *arguments: str, stdin: str | None = None, timeout: float = REQUEST_SECONDS) -> str:
        """Run a command that has to work; return its standard output."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(
        self, manifest: Manifest | Sequence[Manifest], namespace: str, *options: str, server_side: bool = True
    ) -> tuple[bool, str]:
        """Apply one or several manifests; return whether all were accepted, and standard error."""
        documents = [manifest] if isinstance(manifest, dict) else list(manifest)
        side = ["--server-side"] if server_side else []
        text = yaml.safe_dump_all(documents)
        done = self.run("apply", *side, "--namespace", namespace, *options, "--filename", "-", stdin=text)
        return done.returncode == 0, done.stderr

    def get(self, kind: str, name: str = "", namespace: str = "default", *options: str) -> dict[str, Any]:
        """Return an object, or without ``name`` the list of all."""
        named = [name] if name else []
        text = self.must("get", kind, *named, "--namespace", namespace, *options, "--output", "json")
        answer: dict[str, Any] = json.loads(text)
        return answer

    @cached_property
    def connection(self) -> ApiClient:
        """For what is looked at again and again: each kubectl takes a tenth of a second of processor."""
        client: ApiClient = new_client_from_config(self.environment["KUBECONFIG"])  # type: ignore[no-untyped-call]
        return client

    def find(self, run: str, namespace: str) -> Manifest:
        """Return a CycleQDRun; empty if there is none. Without kubectl, but from the same API server."""
        runs = CustomObjectsApi(self.connection)
        try:
            found: Any = runs.get_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, run, _request_timeout=REQUEST_SECONDS
            )
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) == 404:
                return {}
            raise KubectlFailed(str(error)) from error
        return dict(found)

    def patch(self, kind: str, name: str, namespace: str, change: Manifest, *options: str) -> tuple[bool, str]:
        """Merge ``change`` into an object; return whether it was accepted, and standard error."""
        text = json.dumps(change)
        done = self.run("patch", kind, name, "--namespace", namespace, "--type", "merge", "--patch", text, *options)
        return done.returncode == 0, done.stderr

    def delete(self, kind: str, name: str, namespace: str = "default", *options: str) -> None:
        """Delete an object if it is there, and wait until it is gone unless ``--wait=false`` is among the options."""
        self.must("delete", kind, name, "--namespace", namespace, "--ignore-not-found", *options, timeout=180)

    @contextmanager
    def forward(self, target: str, port: int, namespace: str) -> Iterator[str]:
        """Open a way to a port in the cluster (``service/NAME``); yield HOST:PORT of its end on this machine."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            host, here = free.getsockname()
        command = [self.binary, "port-forward", target, f"{here}:{port}", "--namespace", namespace]
        deadline = time.monotonic() + REQUEST_SECONDS
        with subprocess.Popen(command, env=dict(self.environment), stdout=subprocess.DEVNULL) as process:
            try:
                while True:
                    try:
                        socket.create_connection((host, here), timeout=1).close()
                        break
                    except OSError as error:
                        if process.poll() is not None or time.monotonic() > deadline:
                            raise KubectlFailed(f"{' '.join(command)}: {error}") from error
                        time.sleep(0.2)
                yield f"{host}:{here}"
            finally:
                process.terminate()

    def wait(self, kind: str, name: str, condition: str, namespace: str = "default", seconds: int = 60) -> None:
        """Wait for a condition: ``condition=Established``, ``jsonpath={.status.state}=Succeeded``, ``delete``."""
        limit = f"--timeout={seconds}s"
        self.must("wait", kind, name, "--namespace", namespace, f"--for={condition}", limit, timeout=seconds + 30)


def connect() -> Kubectl:
    """Return the cluster in ``KUBECONFIG``, or skip the test and say why."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: no cluster to test on")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH: no way to talk to the cluster in KUBECONFIG")
    return Kubectl()


def install_definition(kubectl: Kubectl) -> None:
    """Apply the project's CustomResourceDefinition and wait until the API server serves it.

    It stays behind: other tests, or people, may have runs of it.
    """
    # Server-side: the annotation of a client-side apply may not be as long as the definition.
    kubectl.must("apply", "--server-side", "--force-conflicts", "--filename", str(DEFINITION))
    kubectl.wait("crd", f"{PLURAL}.{GROUP}", "condition=Established")


@contextmanager
def throwaway_namespace(kubectl: Kubectl, labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """Make a namespace with a name of its own; delete it, with all that is in it, in the background."""
    name = f"cycleqd-e2e-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "cycleqd-e2e", **(labels or {})}}
    ok, error = kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "default")
    if not ok:
        raise KubectlFailed(error)
    try:
        yield name
    finally:
        kubectl.delete("namespace", name, "default", "--wait=false")
