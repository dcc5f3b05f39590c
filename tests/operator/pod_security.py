"""The restricted Pod Security profile of Kubernetes 1.34, read from its documentation and not from our code.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = ("RuntimeDefault", "Localhost")
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
HOOKS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def violations(template: Any) -> list[str]:
    """Return what the restricted profile objects to in a pod template."""
    spec = template["spec"]
    found = list(_of_pod(template["metadata"], spec))
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for each in spec.get(kind) or ():
            found += [f"{each['name']}: {problem}" for problem in _of_container(spec, each)]
    return found


def _of_pod(metadata: Any, spec: Any) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes") or ():
        forbidden = set(volume) - VOLUMES - {"name"}
        if forbidden:
            yield f"volume of kind {forbidden}"
    for name, value in (metadata.get("annotations") or {}).items():
        if name.startswith(APPARMOR_ANNOTATION) and not (value == "runtime/default" or value.startswith("localhost/")):
            yield f"AppArmor {value}"
    context = spec.get("securityContext") or {}
    if context.get("sysctls"):
        yield "sysctls"
    yield from _of_context(context)


def _of_container(spec: Any, container: Any) -> Iterator[str]:
    pod, own = spec.get("securityContext") or {}, container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    problems = {
        "privileged": own.get("privileged"),
        "may escalate its privileges": own.get("allowPrivilegeEscalation") is not False,
        "keeps capabilities": "ALL" not in (capabilities.get("drop") or ()),
        "adds capabilities": set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"},
        "may run as root": own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True,
        "no seccomp profile": (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in SECCOMP,
        "procMount": own.get("procMount", "Default") != "Default",
        "hostPort": any(port.get("hostPort") for port in container.get("ports") or ()),
        "a hook that names a host": '"host":' in json.dumps([container.get(hook) for hook in HOOKS]),
    }
    yield from (problem for problem, found in problems.items() if found)
    yield from _of_context(own)


def _of_context(context: Any) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "runs as user 0"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is off"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    if context.get("seccompProfile", {"type": "RuntimeDefault"}).get("type") not in SECCOMP:
        yield "seccomp is off"
    if context.get("appArmorProfile", {"type": "RuntimeDefault"}).get("type") not in SECCOMP:
        yield "AppArmor is off"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("user") or selinux.get("role") or selinux.get("type", "") not in SELINUX_TYPES:
        yield "SELinux options"
