"""A run in a cluster: what the API server tells about it, and the way to its store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from cycleqd.api.status import RunStatus
from cycleqd.errors import AccessDenied, BadData, MissingInput
from cycleqd.store import Credentials, ObjectStore, open_store
from cycleqd.store.secret import REQUIRED_KEYS, credentials_of
from cycleqd_cli.cluster import Body, Cluster, Gone
from cycleqd_cli.forwarding import reachable
from cycleqd_cli.where import Where

OWN_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE")
"""Variables by which users say that they have credentials of their own."""


@dataclass(frozen=True)
class ClusterRun:
    """A CycleQDRun.

    Attributes:
        cluster: where it is.
        body: as the API server told it.
        where: what the user said about the cluster.
    """

    cluster: Cluster
    body: Body
    where: Where

    @classmethod
    def find(cls, name: str, where: Where) -> ClusterRun:
        """Find a run by its name.

        Raises:
            NoCluster, ClusterUnreachable, AccessDenied: the cluster cannot be asked.
            NoSuchRun: there is none of that name.
        """
        cluster = Cluster.connect(where)
        return cls(cluster, cluster.run(name), where)

    def again(self) -> ClusterRun:
        """Return the run as it is now. Raises what :meth:`find` raises."""
        return ClusterRun(self.cluster, self.cluster.run(self.name), self.where)

    @property
    def name(self) -> str:
        """Of the run."""
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Of the CycleQDRun."""
        return str(self.body["metadata"]["uid"])

    @property
    def desired_state(self) -> str:
        """What the user wants."""
        return str(self.body["spec"].get("desiredState", "Running"))

    @cached_property
    def status(self) -> RunStatus:
        """What the operator said last. Raises BadData: a newer operator wrote it in a form that we cannot read."""
        try:
            return RunStatus.model_validate(self.body.get("status") or {})
        except ValidationError as error:
            raise BadData(
                f"The status of the run {self.name} cannot be read ({str(error).splitlines()[0]}): use the version of "
                "cycleqd that the operator has."
            ) from error

    @property
    def is_current(self) -> bool:
        """Whether the operator has seen the latest change of the spec."""
        return bool(self.status.observed_generation == self.body["metadata"]["generation"])

    def open_store(self) -> ObjectStore:
        """Open the run's store with the credentials of its Secret, or with the user's own.

        Raises:
            AccessDenied: the user may not read the Secret, and has no credentials in the environment.
            MissingInput: the Secret does not exist, or lacks the keys.
            BadData: the operator has not settled yet where the run's state lies.
            StoreUnreachable: its endpoint is known inside of the cluster only.
        """
        storage = self.body["spec"]["storage"]
        uri = self.status.storage_uri or storage["uri"]
        if not uri.startswith("s3://"):
            raise BadData(
                f"The run {self.name} has no storage yet ({uri} is a path): the operator gives it one when it begins."
            )
        secret = self.status.storage_secret_name or storage.get("credentialsSecretName")
        return open_store(uri, self._credentials(secret) if secret else None)

    def _credentials(self, name: str) -> Credentials | None:
        """Return what a Secret holds; None where the user's own credentials have to do."""
        try:
            secret = self.cluster.secret(name)
        except AccessDenied as error:
            if any(os.environ.get(variable) for variable in OWN_CREDENTIALS):
                return None
            raise AccessDenied(
                f"You may not read the Secret {name} in the namespace {self.cluster.namespace}, which opens the run's "
                "storage: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_ENDPOINT_URL instead, or ask "
                "for the permission."
            ) from error
        except Gone as error:
            raise MissingInput(
                f"The Secret {name} in the namespace {self.cluster.namespace}, which opens the run's storage, does not "
                "exist: create it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from error
        missing = [key for key in REQUIRED_KEYS if not secret.get(key)]
        if missing:
            raise MissingInput(f"The Secret {name} has no {' and no '.join(missing)}: add it.")
        address = self.where.endpoint_url or reachable(secret.get("AWS_ENDPOINT_URL", ""), self.where)
        return credentials_of(secret | {"AWS_ENDPOINT_URL": address})
