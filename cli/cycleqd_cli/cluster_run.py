"""A run in a cluster: what the API server tells about it, and the way to its store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from cycleqd.api.status import RunStatus
from cycleqd.errors import AccessDenied, BadData, MissingInput
from cycleqd.store import Credentials
from cycleqd.store.secret import REQUIRED_KEYS, credentials_of
from cycleqd_cli.cluster import Body, Cluster, Gone
from cycleqd_cli.forwarding import reachable
from cycleqd_cli.where import Where

OWN_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE")
"""Variables by which users say that they have credentials of their own."""
OUTCOMES = ("Succeeded", "Failed", "Cancelled")
"""States in which a run stays unless its spec changes."""


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
        """What the operator said last. Raises BadData: it is written in a form that we cannot read."""
        try:
            return RunStatus.model_validate(self.body.get("status") or {}, extra="ignore")  # of a newer operator
        except ValidationError as error:
            raise BadData(
                f"The status of the run {self.name} cannot be read ({str(error).splitlines()[0]}): use the version of "
                "cycleqd that the operator has."
            ) from error

    @property
    def outcome(self) -> str:
        """Succeeded, Failed or Cancelled, if the operator says so of the latest spec; empty while the run goes on."""
        is_current = self.status.observed_generation == self.body["metadata"]["generation"]
        return self.status.state if is_current and self.status.state in OUTCOMES else ""

    @property
    def storage_uri(self) -> str:
        """Where the run's state lies. Raises BadData: the operator has not settled that yet."""
        uri = self.status.storage_uri or self.body["spec"]["storage"]["uri"]
        if not uri.startswith("s3://"):
            raise BadData(
                f"The run {self.name} has no storage yet ({uri} is a path): the operator gives it one when it begins."
            )
        return str(uri)

    def credentials(self) -> Credentials | None:
        """Return what opens the run's storage from here; None: the user's own environment does.

        Raises:
            AccessDenied: the user may not read the Secret, and has no credentials in the environment.
            MissingInput: the Secret does not exist, or lacks the keys.
            StoreUnreachable: its endpoint is known inside of the cluster only, and cannot be forwarded.
        """
        named = self.body["spec"]["storage"].get("credentialsSecretName")
        secret = self.status.storage_secret_name or named
        return self._credentials(secret) if secret else None

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
