"""Secrets of single models: who may read a model that the run's own credentials do not open.

In a pod each Secret is a folder below ``CYCLEQD_SECRETS`` with a file per key. On a laptop the variable is not set: the
usual chain (environment, profile, stored login) then serves all models alike.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cycleqd.api.models import ModelSource
from cycleqd.errors import MissingInput
from cycleqd.store import Credentials

SECRETS_VARIABLE = "CYCLEQD_SECRETS"

ID, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"


@dataclass(frozen=True)
class ModelSecret:
    """A mounted Secret. What a key says is read when it is asked for, because Kubernetes renews the files.

    Attributes:
        name: of the Secret.
        folder: with a file per key.
    """

    name: str
    folder: Path

    @property
    def token(self) -> str | None:
        """Token of the Hugging Face Hub; None: the usual one."""
        return self._read("HF_TOKEN")

    @property
    def credentials(self) -> Credentials:
        """What S3 is asked with; endpoint, region and certificates are the environment's unless the Secret has them.

        Raises:
            MissingInput: the keys are not in the Secret.
        """
        missing = [key for key in (ID, SECRET) if not self._read(key)]
        if missing:
            raise MissingInput(f"The Secret {self.name} of a model in S3 has no {' and no '.join(missing)}: add it.")
        certificates = self.folder / "AWS_CA_BUNDLE"
        return Credentials(
            access_key_id=self._read(ID) or "",
            secret_access_key=self._read(SECRET) or "",
            session_token=self._read("AWS_SESSION_TOKEN"),
            endpoint_url=self._read("AWS_ENDPOINT_URL"),
            region=self._read("AWS_REGION"),
            ca_bundle=str(certificates) if certificates.is_file() else None,
        )

    def _read(self, key: str) -> str | None:
        """Return the text of a key, without the line end that `echo` and editors add; None if there is none."""
        try:
            return (self.folder / key).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


def secret_of(source: ModelSource) -> ModelSecret | None:
    """Return the Secret that a model's source names; None where the usual chain serves.

    Raises:
        MissingInput: it is not there.
    """
    name, secrets = source.credentials_secret_name, os.environ.get(SECRETS_VARIABLE)
    if not name or not secrets:
        return None
    folder = Path(secrets) / name
    if not folder.is_dir():
        raise MissingInput(f"There is no Secret {name}, which the model {source.uri} needs: create it.")
    return ModelSecret(name, folder)
