"""What all API models share: camelCase on the wire, unknown fields refused, values frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic.alias_generators import to_camel

DEFAULT_TYPE = "defaultType"
"""Keyword in the JSON schema of a union: the ``type`` of values that name none."""


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


def _placed(uri: str, info: ValidationInfo) -> str:
    """Say where a URI leads, if the validation context has the manifest's ``place`` (:mod:`cycleqd.placing`)."""
    place = (info.context or {}).get("place")
    return uri if place is None else str(place(uri))


Uri = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^((hf|s3|file)://.+|[^:]+)$"),
    AfterValidator(_placed),
]
"""``hf://ORG/NAME``, ``s3://BUCKET/PREFIX``, ``file://PATH`` or a path beside the manifest, wherever that lies."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
