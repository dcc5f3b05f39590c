"""What a worker finds in its file system beside its image: scratch space, caches, Secrets, the template's volumes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cycleqd.api.run import RunSpec
from cycleqd.errors import BadManifest

Body = dict[str, Any]

CACHE_PATH = "/cache"
SECRETS_PATH = "/var/run/secrets/cycleqd"
"""Folder with a folder for each Secret of a model, a file for each key."""
_CA_FOLDER = "/etc/cycleqd/certificates"
CA_BUNDLE_PATH = f"{_CA_FOLDER}/ca.pem"

ALLOWED_SOURCES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
"""Kinds of volumes that restricted Pod Security permits."""


def mounts_and_volumes(spec: RunSpec, *, has_ca_bundle: bool) -> tuple[list[Body], list[Body]]:
    """Return the volume mounts of the worker's container and the volumes of its pod.

    A mount of the template takes the place of ours at the same path: a faster disk for /cache, a larger /tmp.

    Raises:
        BadManifest: a volume of the template is of a kind that workers must not have.
    """
    template = spec.workers.template
    for position, volume in enumerate(template.volumes):
        _check(volume, f"spec.workers.template.volumes[{position}]")
    taken = {str(mount.get("mountPath")).rstrip("/") for mount in template.volume_mounts}
    ours = [pair for pair in _ours(spec, has_ca_bundle=has_ca_bundle) if pair[0]["mountPath"] not in taken]
    mounts = [mount for mount, _ in ours] + [dict(mount) for mount in template.volume_mounts]
    volumes = [{"name": mount["name"], **source} for mount, source in ours]
    return mounts, volumes + [dict(volume) for volume in template.volumes]


def model_secrets(spec: RunSpec) -> list[str]:
    """Return the Secrets of single models, each once."""
    names = (source.credentials_secret_name for source in (spec.base_model, *spec.experts))
    return list(dict.fromkeys(name for name in names if name))


def _ours(spec: RunSpec, *, has_ca_bundle: bool) -> Iterable[tuple[Body, Body]]:
    """Yield our mounts with the sources of their volumes. The prefix keeps their names apart from a template's."""
    yield {"name": "cycleqd-tmp", "mountPath": "/tmp"}, {"emptyDir": {}}  # noqa: S108 - the pod's own
    megabytes = spec.workers.shared_memory_mebibytes
    if megabytes:
        memory = {"medium": "Memory", "sizeLimit": f"{megabytes}Mi"}
        yield {"name": "cycleqd-shm", "mountPath": "/dev/shm"}, {"emptyDir": memory}  # noqa: S108 - likewise
    claim = spec.workers.model_cache_claim_name
    cache = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    yield {"name": "cycleqd-cache", "mountPath": CACHE_PATH}, cache
    storage = spec.storage.credentials_secret_name
    if storage and has_ca_bundle:
        items = [{"key": "AWS_CA_BUNDLE", "path": CA_BUNDLE_PATH.removeprefix(f"{_CA_FOLDER}/")}]
        yield _read_only("cycleqd-ca", _CA_FOLDER), {"secret": {"secretName": storage, "items": items}}
    for position, name in enumerate(model_secrets(spec)):
        yield _read_only(f"cycleqd-secret-{position}", f"{SECRETS_PATH}/{name}"), {"secret": {"secretName": name}}


def _read_only(name: str, path: str) -> Body:
    return {"name": name, "mountPath": path, "readOnly": True}


def _check(volume: Body, where: str) -> None:
    """Refuse what would let a worker out of its pod. Anything else that is wrong the API server refuses."""
    forbidden = sorted(set(volume) - ALLOWED_SOURCES - {"name"})
    if forbidden:
        raise BadManifest(
            f"{where} is of the kind {forbidden[0]}, which restricted Pod Security forbids: "
            f"use one of {', '.join(sorted(ALLOWED_SOURCES))}."
        )
    projected = volume.get("projected")
    sources = projected.get("sources") if isinstance(projected, dict) else None
    for source in sources if isinstance(sources, list | tuple) else ():
        if isinstance(source, dict) and "serviceAccountToken" in source:
            raise BadManifest(
                f"{where} projects a service account's token, which workers never get: give S3 credentials with "
                "spec.storage.credentialsSecretName, or with the cloud's own identity of template.serviceAccountName."
            )
