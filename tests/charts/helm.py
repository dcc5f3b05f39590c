"""The real ``helm``, and what it makes of the chart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "cycleqd"
KUBERNETES = "1.34.0"
"""The version that charts are rendered for; a helm without cluster takes any, perhaps one that is too old."""

Objects = dict[tuple[str, str, str], dict[str, Any]]
"""Rendered objects by kind, namespace ("" where they have none) and name."""


class HelmRefused(Exception):
    """helm did not do it; the text is what it said."""


def helm(*arguments: str, seconds: float = 60) -> str:
    """Run helm and return its standard output; skip the test where there is no helm.

    Raises:
        HelmRefused: its exit code is not 0.
    """
    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH: the chart cannot be rendered")
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        # What a test's pod said goes to the output.
        raise HelmRefused(f"{done.stderr}{done.stdout}")
    return done.stdout


def settings(*values: str) -> list[str]:
    """Return the arguments that set values (``replicas=2``)."""
    return [argument for value in values for argument in ("--set", value)]


def render(*values: str, release: str = "evolve", namespace: str = "research", tests: bool = False) -> Objects:
    """Return what ``helm install`` would make, and with ``tests`` what ``helm test`` would; no object may come twice.

    Raises:
        HelmRefused: the values are wrong.
    """
    where = ("--namespace", namespace, "--kube-version", KUBERNETES)
    without = () if tests else ("--skip-tests",)
    text = helm("template", release, str(CHART), *where, *without, *settings(*values))
    objects: Objects = {}
    for body in yaml.safe_load_all(text):
        if body is None:
            continue
        key = (body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])
        if key in objects:
            raise HelmRefused(f"{key} comes twice")
        objects[key] = body
    return objects


def only(objects: Objects, kind: str) -> dict[str, Any]:
    """Return the only object of a kind."""
    (body,) = (body for key, body in objects.items() if key[0] == kind)
    return body


def granted(role: dict[str, Any]) -> dict[tuple[str, str, tuple[str, ...]], set[str]]:
    """Return a role's verbs by API group, resource and names of objects (none: all)."""
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                names = tuple(rule.get("resourceNames", ()))
                verbs.setdefault((group, resource, names), set()).update(rule["verbs"])
    return verbs


def pod_of(objects: Objects) -> dict[str, Any]:
    """Return the operator's pod."""
    label = "app.kubernetes.io/component"
    deployments = [body for (kind, _, _), body in objects.items() if kind == "Deployment"]
    (operator,) = (body for body in deployments if body["metadata"]["labels"][label] == "operator")
    pod: dict[str, Any] = operator["spec"]["template"]["spec"]
    return pod


def container_of(objects: Objects) -> dict[str, Any]:
    """Return the operator's container."""
    (container,) = pod_of(objects)["containers"]
    return dict(container)


def environment_of(objects: Objects) -> dict[str, str]:
    """Return the environment of that container."""
    return {entry["name"]: entry["value"] for entry in container_of(objects)["env"]}
