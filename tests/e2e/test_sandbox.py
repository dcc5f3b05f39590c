"""The sandbox's suite where it counts: in a worker's pod as the operator makes it, against the built image.

The worker's container runs the rows and asks the sandbox beside it through their socket, under restricted Pod Security.
What the rows are is in tests/runner/sandbox; nothing here stands in for a part of the pod but what the worker does.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from cycleqd.labels import CONTAINER
from cycleqd.plan import Work
from cycleqd.sidecars import SANDBOX_FOLDER
from cycleqd_operator.pods import pod_template
from cycleqd_operator.settings import Settings
from tests.core.support import run_spec
from tests.e2e.cluster import Kubectl, throwaway_namespace
from tests.e2e.outside import given
from tests.e2e.world import RESTRICTED
from tests.runner.sandbox.attacks import ATTACKS
from tests.runner.sandbox.behaviours import MARKER, mark_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SUITE = "/suite"
"""Where the worker's container finds the suite, below it as in the checkout."""
FILES = (
    "tests/__init__.py",
    "tests/runner/__init__.py",
    *(
        f"tests/runner/sandbox/{name}.py"
        for name in ("__init__", "attacks", "behaviours", "in_pod", "machine_behaviours", "rows", "variants")
    ),
)
POD = "suite"
TESTER = "gw90000"
"""Whose marks the rows' processes have: the suite may run beside this on the machine that is the node."""
LEAST_CHECKS = 40
MOST_SECONDS = 600
"""The rows take one to three minutes on two processors that others use too."""
REACHABLE = {
    *("tcp", "udp", "unix-socket", "abstract-unix-socket", "netlink-socket", "resolve-names"),
    *("read-file", "write-file", "make-file", "list-folder", "write-tmp"),
    *("list-processes", "worker-environ", "host-environ", "signal-worker", "limits-of-worker"),
}
"""Attempts that succeed in the sandbox's container where nothing of ours keeps them in."""


@dataclass(frozen=True)
class Pod:
    """The pod, which runs."""

    kubectl: Kubectl
    namespace: str

    def command(self, container: str, *command: str) -> list[str]:
        """Return what runs a command in a container."""
        return ["exec", "--stdin", POD, "--namespace", self.namespace, "--container", container, "--", *command]

    def inside(self, *command: str, stdin: str = "") -> str:
        """Return what a command says in the sandbox's container, where nothing of ours keeps it in."""
        return self.kubectl.run(*self.command("sandbox", *command), stdin=stdin, timeout=120).stdout

    @contextmanager
    def suite(self) -> Iterator[tuple[IO[str], IO[str]]]:
        """Run the suite in the worker's container; yield its standard output and input."""
        python = ("env", f"PYTHONPATH={SUITE}", f"{MARKER}={TESTER}", "python", "-m", "tests.runner.sandbox.in_pod")
        command = [self.kubectl.binary, *self.command(CONTAINER, *python)]
        with subprocess.Popen(
            command, env=dict(self.kubectl.environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            try:
                yield process.stdout, process.stdin
            finally:
                process.stdin.close()
                process.terminate()


@pytest.fixture(scope="module")
def pod(kubectl: Kubectl) -> Iterator[Pod]:
    """The pod of a worker that evaluates, in a namespace that takes nothing else than restricted pods."""
    with throwaway_namespace(kubectl, RESTRICTED) as namespace:
        ok, error = kubectl.apply([suite_files(), worker_pod()], namespace)
        assert ok, error
        kubectl.wait("pod", POD, "condition=Ready", namespace, 300)
        yield Pod(kubectl, namespace)


def suite_files() -> dict[str, Any]:
    """Return a ConfigMap with the suite."""
    data = {path.replace("/", "-"): (ROOT / path).read_text(encoding="utf-8") for path in FILES}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": POD}, "data": data}


def worker_pod() -> dict[str, Any]:
    """Return the operator's pod; its worker sleeps, has the suite, and needs no store."""
    outside = given()
    settings = Settings(worker_image=outside.runner_image, sandbox_image=outside.sandbox_image)
    spec = run_spec(storage={"uri": "s3://nowhere/run"}, sandbox="Sidecar")
    template = pod_template(spec, Work("evaluate", ids=(0,)), {}, settings, has_ca_bundle=False)
    (worker,) = template["spec"]["containers"]
    del worker["args"]
    worker["command"] = ["sleep", "infinity"]
    worker["volumeMounts"].append({"name": POD, "mountPath": SUITE, "readOnly": True})
    items = [{"key": path.replace("/", "-"), "path": path} for path in FILES]
    template["spec"]["volumes"].append({"name": POD, "configMap": {"name": POD, "items": items}})
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": template["spec"]}


def test_the_sandbox_has_no_rights_to_lose(pod: Pod) -> None:
    """The kernel says of its first process what the pod's spec says."""
    status = dict(line.split(":", 1) for line in pod.inside("cat", "/proc/1/status").splitlines())
    facts = {name: status[name].split() for name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    assert facts == {
        "Uid": ["65533"] * 4,
        "CapEff": ["0" * 16],
        "CapBnd": ["0" * 16],
        "NoNewPrivs": ["1"],
        "Seccomp": ["2"],
    }
    assert pod.inside("sh", "-c", "touch /here /opt/here /usr/here || echo no").strip() == "no"


def test_the_suite_passes_from_the_workers_container(pod: Pod, request: pytest.FixtureRequest) -> None:
    begun = time.monotonic()
    with pod.suite() as (said, _):
        facts = json.loads(said.readline())
        checks = json.loads(said.readline())["checks"]
        seconds = time.monotonic() - begun
        reached = set(without_the_sandbox(pod, facts))
        left = pod.inside(
            "sh", "-c", f"find {SANDBOX_FOLDER} /tmp -name 'slot-*'; pgrep -fa '[s]leep {mark_of(TESTER)}'"
        )
    request.node.user_properties += [("checks", len(checks)), ("seconds", round(seconds))]
    failed = {name: fault for name, fault in checks.items() if fault}
    assert not failed, "\n".join(f"{name}: {fault}" for name, fault in failed.items())
    assert len(checks) >= LEAST_CHECKS
    assert seconds < MOST_SECONDS
    assert left == "", "neither files nor processes"
    assert reached >= REACHABLE, "what is kept in has to be something that could get out"


def without_the_sandbox(pod: Pod, facts: dict[str, object]) -> Iterator[str]:
    """Yield the attacks that succeed in the sandbox's container without the sandbox."""
    sources = {attack.id: attack.source(facts) for attack in ATTACKS if attack.works_without}
    program = (
        "import subprocess, sys\n"
        f"for name, source in {sources!r}.items():\n"
        "    done = subprocess.run([sys.executable, '-c', source], cwd='/tmp', stdout=subprocess.PIPE)\n"
        "    print(name, b'REACHED' in done.stdout)\n"
    )
    for line in pod.inside("python3", "-", stdin=program).splitlines():
        name, is_reached = line.split()
        if is_reached == "True":
            yield name
