"""What all API models share: camelCase on the wire, unknown fields refused, values frozen."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)
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

    @model_serializer(mode="wrap")
    def _with_type(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep the variant's ``type`` where defaults are left out: without it nobody could read the rest."""
        written: dict[str, Any] = write(self)
        return {"type": kind, **written} if (kind := getattr(self, "type", None)) else written


Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label of at most 40 characters: it becomes part of Job names and object keys."""


def placed(uri: str, info: ValidationInfo) -> str:
    """Say where a URI leads, if the validation context has the manifest's ``place`` (:mod:`cycleqd.placing`)."""
    place = (info.context or {}).get("place")
    return uri if place is None else str(place(uri))


Uri = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^((hf|s3|file)://.+|[^:]+)$"),
    AfterValidator(placed),
]
"""``hf://ORG/NAME``, ``s3://BUCKET/PREFIX``, ``file://PATH`` or a path beside the manifest, wherever that lies."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
