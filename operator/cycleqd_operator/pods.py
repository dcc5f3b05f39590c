"""The pod of a worker: restricted Pod Security whatever the run's template says, and what a worker finds inside.

A template may add to a pod and choose its place and size. It cannot touch the security context, our labels, the
variables that we set for the worker, or the credentials of the store; and nothing of it reaches the sidecars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cycleqd.api.run import RunSpec
from cycleqd.api.workers import PodOverrides, Workers
from cycleqd.errors import BadManifest
from cycleqd.ids import format_ids
from cycleqd.labels import CONTAINER
from cycleqd.plan import Work
from cycleqd_operator.pod_environment import environment, merged_environment
from cycleqd_operator.pod_volumes import mounts_and_volumes
from cycleqd_operator.settings import Settings
from cycleqd_operator.sidecar import restricted
from cycleqd_operator.sidecars import sidecars

Body = dict[str, Any]

USER = 65532
"""Uid and gid of workers: the usual "nonroot" of small images."""
GPU = "nvidia.com/gpu"

APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
"""Beginning of annotations that can switch AppArmor off."""


def pod_template(
    spec: RunSpec, work: Work, labels: Mapping[str, str], settings: Settings, *, has_ca_bundle: bool
) -> Body:
    """Return the pod template (core/v1 PodTemplateSpec) of the worker that does ``work``.

    Raises:
        BadManifest: the run's pod template asks for what its workers must not have, or a sidecar cannot be made.
    """
    workers, template = spec.workers, spec.workers.template
    mounts, volumes = mounts_and_volumes(spec, has_ca_bundle=has_ca_bundle)
    beside = list(sidecars(spec, work, settings))
    ours = environment(spec, has_ca_bundle=has_ca_bundle)
    for part in beside:
        mounts.append(part.worker_mount)
        volumes += part.volumes
        if part.worker_variable not in ours:
            ours.append(part.worker_variable)
    container = {
        "name": CONTAINER,
        "image": workers.image or settings.worker_image,
        "imagePullPolicy": settings.worker_image_pull_policy,
        "args": arguments(spec.storage.uri, work),
        "env": merged_environment(ours, template.env),
        "resources": resources(workers),
        "securityContext": restricted(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",  # a cache of many files is not walked for every worker
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placement(template),
        **({"initContainers": [part.container for part in beside]} if beside else {}),
        "containers": [container],
        "volumes": volumes,
    }
    metadata = {"labels": {**template.labels, **labels}, "annotations": _annotations(template)}
    return {"metadata": metadata, "spec": pod}


def arguments(uri: str, work: Work) -> list[str]:
    """Return the worker's command line, behind the image's entry point."""
    order = ["--expert", work.subject] if work.subject else ["--ids", format_ids(work.ids)] if work.ids else []
    # Kubernetes replaces $(NAME) in arguments; $$ stands for a dollar.
    return [argument.replace("$", "$$") for argument in ("worker", work.role, "--run", uri, *order)]


def resources(workers: Workers) -> Body:
    """Return the container's resources: the template's, with the run's number of GPUs.

    Raises:
        BadManifest: the template's are no amounts by name.
    """
    wanted = workers.template.resources
    if not workers.gpus:
        return dict(wanted)
    merged: Body = {**wanted, "limits": {**_amounts(wanted, "limits"), GPU: workers.gpus}}
    requests = {name: amount for name, amount in _amounts(wanted, "requests").items() if name != GPU}
    return merged | {"requests": requests} if "requests" in wanted else merged


def _amounts(wanted: Body, kind: str) -> Body:
    amounts = wanted.get(kind) or {}
    if not isinstance(amounts, dict):
        raise BadManifest(
            f"spec.workers.template.resources.{kind} is {amounts!r}, expected amounts by name, like memory: 16Gi."
        )
    return amounts


def _annotations(template: PodOverrides) -> dict[str, str]:
    """Return the template's annotations. Raises :class:`~cycleqd.errors.BadManifest` if one switches AppArmor off."""
    for name, value in template.annotations.items():
        if name.startswith(APPARMOR_ANNOTATION) and value != "runtime/default" and not value.startswith("localhost/"):
            raise BadManifest(
                f"spec.workers.template.annotations has {name}: {value}, which restricted Pod Security forbids: "
                "remove it, or name a profile with localhost/NAME."
            )
    return dict(template.annotations)


def _placement(template: PodOverrides) -> Body:
    """Return what the template says about where and as whom the pod runs; what it leaves out is left out."""
    whole = template.model_dump(mode="json", by_alias=True)
    names = (
        "nodeSelector",
        "tolerations",
        "affinity",
        "imagePullSecrets",
        "priorityClassName",
        "runtimeClassName",
        "serviceAccountName",
    )
    return {name: whole[name] for name in names if whole[name]}
