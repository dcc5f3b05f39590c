"""Structural schemas out of pydantic's JSON schemas: what Kubernetes wants of any API; our own rules stand in ``crd``.

A structural schema has no references and no unions of objects. So references are written out, and a discriminated
union becomes one object with the fields of all its variants, where CEL rules say which fields go with which ``type``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cycleqd.api.base import DEFAULT_TYPE

Schema = dict[str, Any]

INT64_MAX = 2**63 - 1
LONGEST_DESCRIPTION = 600
"""Characters; a union's field can carry one text per variant."""

KEPT = (
    "description",
    "type",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "enum",
)
"""JSON Schema keywords that mean the same in a structural schema."""

LIST_KEYS = {"conditions": "type", "experts": "name", "tasks": "name"}
"""Lists whose entries have a unique field; the API server refuses duplicates."""


def structural(schema: Mapping[str, Any], defs: Mapping[str, Schema]) -> Schema:
    """Return a structural schema that allows what ``schema`` (pydantic's JSON schema) allows, or a little more."""
    if "$ref" in schema:
        # What stands beside a reference (description, default) belongs to the field and wins over the model's own.
        return structural(
            {**defs[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}, defs
        )
    if "discriminator" in schema:
        return _with_default(_union(schema, defs), schema)
    if "anyOf" in schema:
        (inner,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
        return {**structural({**inner, **rest}, defs), "nullable": True}
    out: Schema = {keyword: schema[keyword] for keyword in KEPT if keyword in schema}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    _bound(out, schema)
    if schema.get("type") == "array":
        out["items"] = structural(schema["items"], defs)
    elif schema.get("type") == "object":
        _object(out, schema, defs)
    return _with_default(out, schema)


def _bound(out: Schema, schema: Mapping[str, Any]) -> None:
    """Write bounds as OpenAPI 3.0 does: exclusive ones are flags, and integers say their size."""
    if out.get("type") == "integer":
        out["format"] = "int64"
        if "exclusiveMaximum" in schema:
            out["maximum"] = schema["exclusiveMaximum"] - 1
        if out.get("maximum") == INT64_MAX:
            del out["maximum"]  # the format says so, and the API server keeps bounds as floats, which cannot
    elif "exclusiveMinimum" in schema:
        out |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}


def _object(out: Schema, schema: Mapping[str, Any], defs: Mapping[str, Schema]) -> None:
    """Fill in the fields of an object, or say that it has any."""
    if "properties" in schema:
        out["properties"] = {name: structural(field, defs) for name, field in schema["properties"].items()}
        for name in LIST_KEYS.keys() & out["properties"].keys():
            field = out["properties"][name]
            if LIST_KEYS[name] in field.get("items", {}).get("required", ()):
                field |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [LIST_KEYS[name]]}
        if "required" in schema:
            out["required"] = schema["required"]
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = structural(schema["additionalProperties"], defs)
    else:
        out["x-kubernetes-preserve-unknown-fields"] = True


def _with_default(out: Schema, schema: Mapping[str, Any]) -> Schema:
    """Carry the default over; that of an object is empty, because its fields have their own."""
    default = schema.get("default")
    if default is None:
        return out
    if isinstance(default, dict) and "discriminator" not in schema:
        default = {}
    return {**out, "default": default}


def _union(schema: Mapping[str, Any], defs: Mapping[str, Schema]) -> Schema:
    """Return one object with the fields of all variants, and a rule for each field that not all of them have."""
    tag = schema["discriminator"]["propertyName"]
    variants = {
        value: structural(defs[ref.rpartition("/")[2]], defs)
        for value, ref in sorted(schema["discriminator"]["mapping"].items())
    }
    owners: dict[str, list[str]] = {}
    for value, variant in variants.items():
        for name in variant["properties"]:
            owners.setdefault(name, []).append(value)
    meaning = " ".join(f"{value}: {variant['description']}" for value, variant in variants.items())
    fields: Schema = {tag: {"type": "string", "enum": list(variants), "description": meaning}}
    rules = []
    for name, types in owners.items():
        if name == tag:
            continue
        fields[name] = _merged([variants[value]["properties"][name] for value in types], types)
        if len(types) < len(variants):
            # has() sees no null, so a null would pass the rule, and the variants that lack the field refuse it later.
            # The API server drops or refuses nulls of fields that are not nullable.
            fields[name].pop("nullable", None)
            rules.append(
                cel_rule(
                    f"!has(self.{name}) || self.{tag} in {types}", f"{name} goes with type {' or '.join(types)} only"
                )
            )
        needed = [value for value in types if name in variants[value].get("required", ())]
        if needed:
            rules.append(
                cel_rule(f"!(self.{tag} in {needed}) || has(self.{name})", f"type {' or '.join(needed)} needs {name}")
            )
    union: Schema = {"description": schema["description"], "type": "object", "properties": fields}
    if DEFAULT_TYPE in schema:
        fields[tag]["default"] = schema[DEFAULT_TYPE]
    else:
        union["required"] = [tag]
    return {**union, "x-kubernetes-validations": rules}


def _merged(fields: Sequence[Schema], types: Sequence[str]) -> Schema:
    """Return a field as loose as the loosest variant's; defaults move to the description, since they differ by type."""
    merged = {key: value for key, value in fields[0].items() if all(field.get(key) == value for field in fields)}
    merged |= (
        {"maxLength": max(field["maxLength"] for field in fields)} if all("maxLength" in f for f in fields) else {}
    )
    texts: dict[str, list[str]] = {}
    for field, value in zip(fields, types, strict=True):
        default = f" Default: {field['default']}." if "default" in field else ""
        texts.setdefault(field["description"] + default, []).append(value)
    described = [f"{', '.join(values)}: {text}" for text, values in texts.items()]
    merged["description"] = " ".join(described)[:LONGEST_DESCRIPTION]
    merged.pop("default", None)
    return merged


def cel_rule(rule: str, message: str) -> Schema:
    """Return one entry of ``x-kubernetes-validations``."""
    return {"rule": rule, "message": message}
