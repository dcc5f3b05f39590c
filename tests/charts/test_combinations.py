"""Values in combination: helm finds nothing to complain about, and what is true of all objects holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.combinations import COMBINATIONS
from tests.charts.helm import CHART, KUBERNETES, Objects, helm, render, settings

EACH = pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS)


@EACH
def test_helm_lint(values: list[str]) -> None:
    told = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART), *settings(*values))
    assert "1 chart(s) linted, 0 chart(s) failed" in told


@EACH
def test_every_object_is_ours_and_every_pod_restricted(values: list[str]) -> None:
    objects = render(*values, tests=True)
    for (kind, _, name), body in objects.items():
        if kind != "CustomResourceDefinition":
            assert body["metadata"]["labels"]["app.kubernetes.io/instance"] == "evolve", (kind, name)
    for pod in _pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "automountServiceAccountToken" in pod, "nobody has a token by accident"
        for container in pod["containers"]:
            assert container["resources"]["limits"]["memory"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def _pods(objects: Objects) -> list[dict[str, Any]]:
    """Return the specs of all pods, those of Deployments and Jobs too."""
    found = []
    for (kind, _, _), body in objects.items():
        if kind == "Pod":
            found.append(body["spec"])
        elif kind in {"Deployment", "Job"}:
            found.append(body["spec"]["template"]["spec"])
    return found
