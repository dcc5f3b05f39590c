"""What all API models share: camelCase on the wire, unknown fields refused, values frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A frozen piece of the manifest: snake_case in Python, camelCase in YAML."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label of at most 40 characters: it becomes part of Job names and object keys."""


def _absolute(uri: str, info: ValidationInfo) -> str:
    """Make a plain path absolute, where the validation context names the manifest's ``folder``."""
    folder = (info.context or {}).get("folder")
    if folder is None or "://" in uri:
        return uri
    return str((Path(folder) / uri).resolve())


Uri = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^((hf|s3|file)://.+|[^:]+)$"),
    AfterValidator(_absolute),
]
"""``hf://ORG/NAME``, ``s3://BUCKET/PREFIX``, ``file://PATH`` or a plain path (relative to the manifest's folder)."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
