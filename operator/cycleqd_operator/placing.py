"""Where runs lie that do not say it themselves: the operator's storage root, and the Secret that opens it.

A manifest with relative URIs works on a laptop, where they start from its folder, and here, where they start from the
root. All of the operator sees them resolved, because it reads manifests through :class:`Placing` and in no other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import ValidationError

from cycleqd.api import CycleQDRun
from cycleqd.api.run import Storage
from cycleqd.api.status import RunStatus
from cycleqd.errors import BadManifest
from cycleqd.manifest import parse_manifest
from cycleqd.placing import below
from cycleqd_operator.settings import Settings


@dataclass(frozen=True)
class Placing:
    """Gives runs a place.

    Attributes:
        root: that relative URIs start from; empty: they are refused.
        secret_name: Secret of the storage of runs that name none; None: they use the cloud's own identity.
    """

    root: str = ""
    secret_name: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the place of runs that begin now."""
        return cls(settings.storage_root, settings.storage_secret_name)

    def kept(self, status: RunStatus | None) -> Self:
        """Return the place of a run that may have begun: it stays where it is, whatever the operator is told later."""
        return replace(self, root=status.storage_root) if status and status.storage_root else self

    def read(self, body: Mapping[str, Any]) -> CycleQDRun:
        """Return the manifest in a CycleQDRun, with URIs that are valid everywhere.

        Raises:
            BadManifest: it contradicts itself, or has relative URIs and there is no root.
        """
        document = {name: body[name] for name in ("apiVersion", "kind", "metadata", "spec")}
        run = parse_manifest(document, below(self.root))
        spec = run.spec.model_copy(update={"storage": self._opened(run.spec.storage)})
        return run.model_copy(update={"spec": spec})

    def storage(self, body: Mapping[str, Any]) -> Storage:
        """Return the storage of a CycleQDRun whose manifest may be wrong elsewhere. Raises :class:`BadManifest`."""
        try:
            storage = Storage.model_validate(body["spec"]["storage"], context={"place": below(self.root)})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise BadManifest(f"spec.storage: {reason}.") from error
        return self._opened(storage)

    def storage_uri(self, body: Mapping[str, Any]) -> str:
        """Return where a run's state lies, without a slash at its end; as the manifest says if that leads nowhere."""
        uri = str(body["spec"]["storage"]["uri"])
        return (below(self.root)(uri) if self.root else uri).rstrip("/")

    def _opened(self, storage: Storage) -> Storage:
        name = storage.credentials_secret_name or self.secret_name
        return storage.model_copy(update={"credentials_secret_name": name})
