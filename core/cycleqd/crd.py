"""The CustomResourceDefinition, generated from the API models: ``python -m cycleqd.crd [--check] [PATH]``.

Kubernetes wants structural schemas: no references, no unions of objects. So references are written out, and a
discriminated union becomes one object with the fields of all its variants, where CEL rules say which fields go with
which ``type``. Rules across fields that the models check in Python are repeated here in CEL, so that ``kubectl apply``
refuses what it can.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cycleqd.api.run import GROUP, KIND, RESERVED_NAMES, VERSION, CycleQDRun

Schema = dict[str, Any]

PLURAL = "cycleqdruns"
DEFAULT_PATH = Path("crds") / f"{GROUP}_{PLURAL}.yaml"
HEADER = "# Generated from cycleqd.api by `python -m cycleqd.crd`. Do not edit.\n"

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

COLUMNS = (
    ("State", "string", ".status.state"),
    ("Progress", "string", ".status.progress"),
    ("Coverage", "number", ".status.coverage"),
    ("Best", "number", ".status.best"),
    ("Running", "integer", ".status.running"),
    ("Age", "date", ".metadata.creationTimestamp"),
)

IMMUTABLE = ("baseModel", "experts", "tasks", "storage")
"""Fields of the spec that decide what the results mean; of ``search``, only ``children`` may change, upwards."""

SPEC_RULES = (
    ("self.tasks.all(t, self.experts.exists(e, e.name == t.expert))", "every task must name one of spec.experts"),
    ("self.experts.all(e, self.tasks.exists_one(t, t.expert == e.name))", "give every expert exactly one task"),
    (
        "self.search.cycle != 'Fixed' || self.search.fixedTask < self.tasks.size()",
        "search.fixedTask is an index into tasks",
    ),
)


def build() -> Schema:
    """Return the CustomResourceDefinition of :class:`~cycleqd.api.run.CycleQDRun`."""
    whole = CycleQDRun.model_json_schema(by_alias=True)
    schema = _structural(whole, whole["$defs"])
    properties = schema["properties"]
    # The API server checks apiVersion and kind itself, and allows restrictions of metadata.name only.
    properties["apiVersion"] = {"type": "string", "description": "Always cycleqd.dev/v1alpha1."}
    properties["kind"] = {"type": "string", "description": "Always CycleQDRun."}
    properties["metadata"] = {"type": "object", "properties": {"name": properties["metadata"]["properties"]["name"]}}
    schema["required"] = ["spec"]
    _add_rules(properties["spec"])
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": name, "type": kind, "jsonPath": path} for name, kind, path in COLUMNS],
    }
    names = {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower(), "shortNames": ["cqd"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _structural(schema: Mapping[str, Any], defs: Mapping[str, Schema]) -> Schema:
    """Return a structural schema that allows what ``schema`` (pydantic's JSON schema) allows, or a little more."""
    if "$ref" in schema:
        # What stands beside a reference (description, default) belongs to the field and wins over the model's own.
        return _structural(
            {**defs[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}, defs
        )
    if "discriminator" in schema:
        return _with_default(_union(schema, defs), schema)
    if "anyOf" in schema:
        (inner,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
        return {**_structural({**inner, **rest}, defs), "nullable": True}
    out: Schema = {keyword: schema[keyword] for keyword in KEPT if keyword in schema}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    _bound(out, schema)
    if schema.get("type") == "array":
        out["items"] = _structural(schema["items"], defs)
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
        out["properties"] = {name: _structural(field, defs) for name, field in schema["properties"].items()}
        for name in LIST_KEYS.keys() & out["properties"].keys():
            field = out["properties"][name]
            if LIST_KEYS[name] in field.get("items", {}).get("required", ()):
                field |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [LIST_KEYS[name]]}
        if "required" in schema:
            out["required"] = schema["required"]
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _structural(schema["additionalProperties"], defs)
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
        value: _structural(defs[ref.rpartition("/")[2]], defs)
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
            rules.append(
                _rule(f"!has(self.{name}) || self.{tag} in {types}", f"{name} goes with type {' or '.join(types)} only")
            )
        needed = [value for value in types if name in variants[value].get("required", ())]
        if needed:
            rules.append(
                _rule(f"!(self.{tag} in {needed}) || has(self.{name})", f"type {' or '.join(needed)} needs {name}")
            )
    return {
        "description": schema["description"],
        "type": "object",
        "properties": fields,
        "required": [tag],
        "x-kubernetes-validations": rules,
    }


def _merged(fields: Sequence[Schema], types: Sequence[str]) -> Schema:
    """Return a field as loose as the loosest variant's; defaults move to the description, since they differ by type."""
    merged = {key: value for key, value in fields[0].items() if all(field.get(key) == value for field in fields)}
    merged |= (
        {"maxLength": max(field["maxLength"] for field in fields)} if all("maxLength" in f for f in fields) else {}
    )
    merged |= {"nullable": True} if any(field.get("nullable") for field in fields) else {}
    texts: dict[str, list[str]] = {}
    for field, value in zip(fields, types, strict=True):
        default = f" Default: {field['default']}." if "default" in field else ""
        texts.setdefault(field["description"] + default, []).append(value)
    described = [f"{', '.join(values)}: {text}" for text, values in texts.items()]
    merged["description"] = " ".join(described)[:LONGEST_DESCRIPTION]
    merged.pop("default", None)
    return merged


def _rule(rule: str, message: str) -> Schema:
    return {"rule": rule, "message": message}


def _add_rules(spec: Schema) -> None:
    """Add to the spec's schema what no keyword of a schema can say."""
    fields = spec["properties"]
    search = fields["search"]["properties"]
    frozen = {f"spec.{name}": fields[name] for name in IMMUTABLE}
    frozen |= {f"spec.search.{name}": field for name, field in search.items() if name != "children"}
    for path, field in frozen.items():
        message = f"{path} cannot change during a run: start another run under another storage.uri"
        field.setdefault("x-kubernetes-validations", []).append(_rule("self == oldSelf", message))
    for name in ("experts", "tasks"):  # lists with keys are equal in any order, but ids follow the order
        same_order = f"self.map(x, x.{LIST_KEYS[name]}) == oldSelf.map(x, x.{LIST_KEYS[name]})"
        fields[name]["x-kubernetes-validations"].append(_rule(same_order, f"the order of spec.{name} cannot change"))
    search["children"]["x-kubernetes-validations"] = [
        _rule("self >= oldSelf", "spec.search.children can only be raised")
    ]
    reserved = _rule(f"!(self in {sorted(RESERVED_NAMES)})", "the names base, average and merged are the report's own")
    fields["experts"]["items"]["properties"]["name"]["x-kubernetes-validations"] = [reserved]
    spec["x-kubernetes-validations"] = [_rule(*pair) for pair in SPEC_RULES]


class _Plain(yaml.SafeDumper):
    """Writes repeated parts out, since Kubernetes tools differ in how they read YAML's references."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Never refer."""
        return True


def render() -> str:
    """Return the file's text."""
    return HEADER + yaml.dump(build(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or with ``--check`` return 1 if it is not what would be written."""
    parser = argparse.ArgumentParser(prog="python -m cycleqd.crd", description="Write the CustomResourceDefinition.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is out of date")
    parser.add_argument("path", nargs="?", type=Path, default=DEFAULT_PATH)
    options = parser.parse_args(arguments)
    path: Path = options.path
    if not options.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{path} does not fit the API models: run `python -m cycleqd.crd {path}` and commit it.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
