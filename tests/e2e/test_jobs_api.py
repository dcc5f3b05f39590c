"""Our Jobs before a real API server: it takes each of them, whole, where restricted Pod Security is enforced.

Nothing is created: the server is asked what it would do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.utils.quantity import parse_quantity

from cycleqd.api import RunSpec
from cycleqd.plan import Work
from cycleqd_operator.job_view import JobView
from cycleqd_operator.jobs import is_ours
from tests.e2e.cluster import Kubectl, throwaway_namespace
from tests.operator.manifests import BLOCK, WORK, job, maximal_spec, pod, spec
from tests.operator.pod_security import violations

pytestmark = pytest.mark.e2e

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
SPECS = {
    "smallest": spec(),
    "largest": maximal_spec(),
    "strict": spec(search={"strict": True}, workers={"modelCacheClaimName": "models", "sharedMemoryMebibytes": 0}),
}


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> Iterator[str]:
    with throwaway_namespace(kubectl, RESTRICTED) as name:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "workers"}}
        assert kubectl.apply(account, name) == (True, "")
        yield name


def _offer(kubectl: Kubectl, namespace: str, manifest: Any) -> tuple[Any, str]:
    """Return what the server would make of an object, None if it refuses it, and what it says about it."""
    manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
    options = ("--dry-run=server", "--validate=strict", "--warnings-as-errors", "--output=json", "--filename=-")
    done = kubectl.run("create", "--namespace", namespace, *options, stdin=json.dumps(manifest))
    return json.loads(done.stdout) if done.returncode == 0 else None, done.stderr


def _as_pod(template: Any) -> Any:
    """Return the pod that a Job controller would make; which runtime classes there are is the cluster's business."""
    body = {name: value for name, value in template["spec"].items() if name != "runtimeClassName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "demo", **template["metadata"]}, "spec": body}


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.role)
@pytest.mark.parametrize("wanted", SPECS.values(), ids=SPECS)
def test_jobs_and_their_pods_are_taken_without_a_warning(
    kubectl: Kubectl, namespace: str, wanted: RunSpec, work: Work
) -> None:
    body = job(work, wanted, has_ca_bundle=True)
    there, said = _offer(kubectl, namespace, body)
    assert (there is not None, said) == (True, "")
    pod_there, said = _offer(kubectl, namespace, _as_pod(body["spec"]["template"]))
    assert (pod_there is not None, said) == (True, "")
    assert _lost(body["spec"], there["spec"]) == []


def test_what_the_server_holds_is_known_as_ours(kubectl: Kubectl, namespace: str) -> None:
    there, _ = _offer(kubectl, namespace, job())
    assert is_ours(there, job())
    view = JobView.of(there)
    assert view is not None
    assert (view.work, view.state, view.ready) == (BLOCK, "Active", 0)


MISSPELT = {"name": "scratch", "mountPath": "/scratch", "readonly": True}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param(
            {"volumes": [{"name": "scratch", "emptyDir": {}}], "volumeMounts": [MISSPELT]},
            'unknown field "spec.template.spec.containers[0].volumeMounts[3].readonly"',
            id="a misspelt field",
        ),
        pytest.param(
            {"volumeMounts": [{"name": "nothing", "mountPath": "/x"}]}, 'Not found: "nothing"', id="an unknown volume"
        ),
        pytest.param({"resources": {"limits": {"memory": "much"}}}, "quantities must match", id="no amount"),
        pytest.param({"env": [{"value": "x"}]}, "env[13].name: Required value", id="a variable without a name"),
        pytest.param({"labels": {"team": "a b"}}, "a valid label must be", id="no label"),
        pytest.param(
            {"labels": {"batch.kubernetes.io/job-name": "other"}}, "must be 'demo-breed-3'", id="Kubernetes' own label"
        ),
    ],
)
def test_mistakes_in_a_template_are_told(
    kubectl: Kubectl, namespace: str, template: dict[str, Any], words: str
) -> None:
    there, said = _offer(kubectl, namespace, job(of=spec(workers={"template": template})))
    assert there is None
    assert words in said


@pytest.mark.parametrize(
    "weak",
    [
        {"hostNetwork": True},
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"runAsNonRoot": True}},
        {"volumes": [*pod()["spec"]["volumes"], {"name": "host", "hostPath": {"path": "/"}}]},
    ],
    ids=["the node's network", "root", "no seccomp profile", "the node's files"],
)
def test_the_server_and_our_checker_object_to_the_same(kubectl: Kubectl, namespace: str, weak: dict[str, Any]) -> None:
    template = pod()
    template["spec"] |= weak
    there, said = _offer(kubectl, namespace, _as_pod(template))
    assert there is None
    assert "violates PodSecurity" in said
    assert violations(template)


def _lost(ours: Any, theirs: Any, path: str = "spec") -> list[str]:
    """Return the fields of ours that theirs lacks or has otherwise; defaults on top are no loss."""
    if isinstance(ours, dict):
        return [
            lost
            for name, value in ours.items()
            if value != {}
            for lost in (_lost(value, theirs[name], f"{path}.{name}") if name in theirs else [f"{path}.{name}"])
        ]
    if isinstance(ours, list) and len(ours) == len(theirs):
        return [lost for n, pair in enumerate(zip(ours, theirs, strict=True)) for lost in _lost(*pair, f"{path}[{n}]")]
    return [] if ours == theirs or _amount(ours) == _amount(theirs) else [path]


def _amount(value: Any) -> Any:
    """Return a quantity as a number, as 1024Mi is told as 1Gi and 2 as "2"; anything else as it is."""
    try:
        return parse_quantity(value)  # type: ignore[no-untyped-call]  # the client's own
    except ValueError:
        return value
