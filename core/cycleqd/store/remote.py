"""One object of a bucket and the client that reaches it: what sending and fetching it need to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Remote:
    """An object in S3.

    Attributes:
        client: boto3's, whose class is made at run time.
        bucket: name of the bucket.
        key: within the bucket.
    """

    client: Any
    bucket: str
    key: str

    @property
    def names(self) -> dict[str, str]:
        """What every request about the object carries."""
        return {"Bucket": self.bucket, "Key": self.key}

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
