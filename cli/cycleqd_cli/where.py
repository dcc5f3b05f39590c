"""Which cluster a command looks at, as the user said it. Nothing is asked of a cluster here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    """What the user said about the cluster, None where nothing.

    Attributes:
        namespace: of the run.
        context: of the kubeconfig.
        kubeconfig: a file.
        endpoint_url: of the S3 server.
    """

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    endpoint_url: str | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether the user speaks of a cluster, and not of files."""
        return any((self.namespace, self.context, self.kubeconfig))
