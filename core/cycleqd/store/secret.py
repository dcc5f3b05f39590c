"""From the texts of a storage Secret to credentials. Who reads the Secret knows how."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cycleqd.store.contract import Credentials

REQUIRED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys without which a storage Secret is of no use."""


def credentials_of(secret: Mapping[str, str]) -> Credentials:
    """Return the credentials in a Secret that has the :data:`REQUIRED_KEYS`."""
    bundle = secret.get("AWS_CA_BUNDLE")
    return Credentials(
        access_key_id=secret["AWS_ACCESS_KEY_ID"],
        secret_access_key=secret["AWS_SECRET_ACCESS_KEY"],
        session_token=secret.get("AWS_SESSION_TOKEN") or None,
        endpoint_url=secret.get("AWS_ENDPOINT_URL") or None,
        region=secret.get("AWS_REGION") or None,
        ca_bundle=_as_file(bundle) if bundle else None,
    )


def _as_file(certificates: str) -> str:
    """Return the path of a file with these certificates: boto3 reads them from files only."""
    digest = hashlib.sha256(certificates.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"cycleqd-ca-{digest}.pem"
    if not path.exists():
        path.write_text(certificates, encoding="utf-8")
    return str(path)
