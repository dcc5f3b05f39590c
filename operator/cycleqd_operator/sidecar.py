"""What all sidecars of a worker's pod have in common. Which there are is :mod:`cycleqd_operator.sidecars`'s business.

A sidecar is an init container that goes on running (``restartPolicy: Always``): it is up before the worker starts, it
is restarted if it dies, and Kubernetes ends it after the worker. It never decides how pod and Job end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

STARTUP_SECONDS = 120
"""A sidecar that does not answer by then is killed and started again."""


def restricted() -> Body:
    """Return the security context of every container of a worker's pod; the pod's own says the rest."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@dataclass(frozen=True, slots=True)
class Meeting:
    """The folder that worker and sidecar share, and nothing else of the pod.

    Attributes:
        volume: name of the emptyDir.
        path: where both have it.
        variable: of the worker; says that the sidecar is there.
        value: of the variable.
    """

    volume: str
    path: str
    variable: str
    value: str


@dataclass(frozen=True, slots=True)
class PodPart:
    """A sidecar and what it takes in the rest of the pod.

    Attributes:
        container: core/v1 Container, one of ``initContainers``.
        meeting: the folder that it shares with the worker.
        scratch: volumes of its own (core/v1 Volume), which nobody else mounts.
    """

    container: Body
    meeting: Meeting
    scratch: tuple[Body, ...] = ()

    @property
    def volumes(self) -> list[Body]:
        """All volumes that it brings into the pod."""
        return [{"name": self.meeting.volume, "emptyDir": {}}, *self.scratch]

    @property
    def worker_mount(self) -> Body:
        """Where the worker finds it."""
        return {"name": self.meeting.volume, "mountPath": self.meeting.path}

    @property
    def worker_variable(self) -> Body:
        """What the worker is told."""
        return {"name": self.meeting.variable, "value": self.meeting.value}


def container(
    name: str,
    image: str,
    *,
    user: int | None,
    mounts: Mapping[str, str],
    resources: Mapping[str, Any],
    command: Sequence[str] = (),
    probe: Sequence[str] = (),
    pull_policy: str | None = None,
) -> Body:
    """Return a sidecar (core/v1 Container) without environment, account or anything else of the worker's.

    Args:
        name: of the container.
        image: reference.
        user: uid; None: the worker's.
        mounts: path to name of a volume.
        resources: requests and limits.
        command: in the place of the image's entry point; empty keeps that.
        probe: command that succeeds as soon as the sidecar can be used; empty: at once.
        pull_policy: of the image; None: Kubernetes' default.
    """
    body: Body = {
        "name": name,
        "image": image,
        "restartPolicy": "Always",
        "resources": dict(resources),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its last words say why it does not come up
        "securityContext": {**restricted(), **({} if user is None else {"runAsUser": user})},
        "volumeMounts": [{"name": volume, "mountPath": path} for path, volume in mounts.items()],
    }
    if pull_policy:
        body["imagePullPolicy"] = pull_policy
    if command:
        body["command"] = [part.replace("$", "$$") for part in command]  # $$ stands for a dollar
    if probe:
        body["startupProbe"] = {
            "exec": {"command": list(probe)},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": STARTUP_SECONDS,
        }
    return body


def memory_limit(requested: str, limit: str) -> Body:
    """Return resources with a tenth of a processor, some memory, and no limit of processors."""
    return {"requests": {"cpu": "100m", "memory": requested}, "limits": {"memory": limit}}
