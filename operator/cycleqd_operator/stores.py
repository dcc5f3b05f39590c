"""How the operator comes to a run's store: with the credentials of the Secret that the manifest names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cycleqd.api import RunSpec
from cycleqd.api.run import Storage
from cycleqd.errors import BadManifest, MissingInput
from cycleqd.store import ObjectStore, open_store
from cycleqd.store.secret import REQUIRED_KEYS, credentials_of
from cycleqd_operator.cluster import Cluster, Gone
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.pod_volumes import model_secrets


@dataclass(frozen=True)
class OpenedStore:
    """A run's store.

    Attributes:
        store: may be used from several threads; its calls block.
        has_ca_bundle: whether the Secret brings certificates, which workers then need as a file.
    """

    store: ObjectStore
    has_ca_bundle: bool


async def check_model_secrets(cluster: Cluster, namespace: str, spec: RunSpec) -> None:
    """Make sure that workers will find the Secrets of single models: Kubernetes does not say which one it lacks.

    Raises:
        MissingInput: one of them does not exist.
    """
    for name in model_secrets(spec):
        await _secret(cluster, namespace, name, "a model's credentialsSecretName")


async def open_run_store(cluster: Cluster, namespace: str, storage: Storage) -> OpenedStore:
    """Open a run's store; no request is sent to it yet.

    Without ``credentialsSecretName`` the operator's own environment or role is used.

    Raises:
        MissingInput: there is no such Secret, or it lacks the keys.
        BadManifest: the URI is none of an S3 store; workers on several nodes share no folder with the operator.
    """
    if not storage.uri.startswith("s3://"):
        raise BadManifest(f"spec.storage.uri is {storage.uri}, but on a cluster it has to be s3://BUCKET/PREFIX.")
    if storage.credentials_secret_name is None:
        return OpenedStore(open_store(storage.uri), has_ca_bundle=False)
    named_by = "spec.storage.credentialsSecretName"
    secret = await _secret(cluster, namespace, storage.credentials_secret_name, named_by, REQUIRED_KEYS)
    credentials = credentials_of(secret)
    return OpenedStore(open_store(storage.uri, credentials), has_ca_bundle=credentials.ca_bundle is not None)


async def _secret(
    cluster: Cluster, namespace: str, name: str, named_by: str, needed: Sequence[str] = ()
) -> dict[str, str]:
    """Return a Secret that has the needed keys. Raises :class:`~cycleqd.errors.MissingInput`."""
    where = f"The Secret {name} in the namespace {namespace}, which {named_by} names,"
    try:
        secret = await cluster.secret(namespace, name)
    except Gone as error:
        keys = f" with {' and '.join(needed)}" if needed else ""
        raise MissingInput(f"{where} does not exist: create it{keys}, and the run goes on.") from error
    missing = [key for key in needed if not secret.get(key)]
    if missing:
        raise MissingInput(f"{where} has no {' and no '.join(missing)}: add it, and the run goes on.")
    return secret


class MeasuredStore:
    """An :class:`~cycleqd.store.ObjectStore` whose requests are measured."""

    def __init__(self, store: ObjectStore, metrics: Metrics) -> None:
        """Measure the requests to ``store``."""
        self._store = store
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        attribute = getattr(self._store, name)
        if not callable(attribute):
            return attribute

        def measured(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - likewise
            with self._metrics.s3_request(name):
                answer = attribute(*arguments, **options)
                # A listing sends its requests while it is read.
                return iter(list(answer)) if isinstance(answer, Iterator) else answer

        return measured
