"""Write docs/manifest.md, the reference of the manifest, from the API models; ``--check`` only compares.

Every field's description, type and default come from the models, so the page cannot drift from what is validated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from generated import write_or_check

from cycleqd.api import CycleQDRun
from cycleqd.identity import IMMUTABLE

PAGE = Path(__file__).parents[1] / "docs" / "manifest.md"
SMALLEST = """\
apiVersion: cycleqd.dev/v1alpha1
kind: CycleQDRun
metadata: {name: two-skills}
spec:
  baseModel: {uri: hf://ORG/BASE-MODEL}
  experts:
    - {name: sql-expert, uri: hf://ORG/SQL-EXPERT}
    - {name: shell-expert, uri: hf://ORG/SHELL-EXPERT}
  tasks:
    - {name: sql, expert: sql-expert, evaluator: {type: Sql}}
    - {name: shell, expert: shell-expert, evaluator: {type: Shell}}
  storage: {uri: s3://BUCKET/two-skills, credentialsSecretName: s3-credentials}
"""
INTRODUCTION = f"""\
# The manifest

A `CycleQDRun` says which experts of which base model are to be merged, what scores them, and how the search goes. The
same file serves `cycleqd run FILE` on a laptop and `kubectl apply` on a cluster. `cycleqd validate FILE` checks it,
`cycleqd init` writes a first one, and [examples](../examples/README.md) has more. The smallest one, with the paper's
settings for all the rest:

```yaml
{SMALLEST}```

What is not in the tables is refused, with the nearest name.

This page is generated from the models in `core/cycleqd/api` by `make docs`; CI checks that it is current.
"""
FIXED = {"search": "Fixed once the run has begun, except `children`."}
"""Where part of a fixed field may change."""

Schema = dict[str, Any]


def render() -> str:
    """Return the page as Markdown."""
    CycleQDRun.model_validate(yaml.safe_load(SMALLEST))
    definitions: dict[str, Schema] = CycleQDRun.model_json_schema()["$defs"]
    parts = [INTRODUCTION]
    for root, name in (("spec", "RunSpec"), ("status", "RunStatus")):
        uses = list(_uses(root, definitions[name], definitions))
        parts += [_section(root, definitions[name], definitions, ()), _outline(uses)]
        for kind in dict.fromkeys(kind for _, kind in uses):
            paths = tuple(dict.fromkeys(path for path, used in uses if used == kind))
            parts.append(_section(kind, definitions[kind], definitions, paths))
    return "\n".join(parts)


def _uses(path: str, schema: Schema, definitions: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Yield where below ``path`` which definition stands, in the order of the fields."""
    for field, value in schema.get("properties", {}).items():
        below = f"{path}.{field}" + ("[]" if value.get("type") == "array" else "")
        for name in _references(value):
            yield below, name
            yield from _uses(below, definitions[name], definitions)


def _outline(uses: Sequence[tuple[str, str]]) -> str:
    """Return a list of the places that have sections of their own."""
    links: dict[str, list[str]] = {}
    for path, name in uses:
        links.setdefault(path, []).append(_link(name))
    return "".join(
        f"{'  ' * (path.count('.') - 1)}- `{path.rpartition('.')[2]}`: {', '.join(dict.fromkeys(found))}\n"
        for path, found in links.items()
    )


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else []
        return own + [name for key, value in schema.items() if key != "discriminator" for name in _references(value)]
    if isinstance(schema, list):
        return [name for value in schema for name in _references(value)]
    return []


def _section(title: str, schema: Schema, definitions: dict[str, Schema], paths: Sequence[str]) -> str:
    required = set(schema.get("required", []))
    rows = [
        f"| `{name}` | {_type(value)} | {_default(name, value, required)} | {_what(title, name, value, definitions)} |"
        for name, value in schema.get("properties", {}).items()
    ]
    where = f" In {', '.join(f'`{path}`' for path in paths)}." if paths else ""
    table = "\n".join(["| field | type | default | what |", "| --- | --- | --- | --- |", *rows])
    return f"## {title}\n\n{_paragraph(schema.get('description', ''))}{where}\n\n{table}\n"


def _what(title: str, name: str, value: Schema, definitions: dict[str, Schema]) -> str:
    """Return the last column; for the fields of ``spec`` it says which are fixed once a run has begun."""
    fixed = title == "spec" and name in IMMUTABLE
    return _cell(_description(value, definitions)) + (
        f" {FIXED.get(name, 'Fixed once the run has begun.')}" if fixed else ""
    )


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _type(value: Schema) -> str:
    if "$ref" in value:
        return _link(value["$ref"].rsplit("/", 1)[-1])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    for union in ("anyOf", "oneOf"):
        if union in value:
            return " or ".join(_type(option) for option in value[union] if option.get("type") != "null")
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    if value.get("type") == "object":
        return "map"
    return str(value.get("type", "any")) + _range(value)


def _range(value: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value and abs(value[key]) < 2**62]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(name: str, value: Schema, required: set[str]) -> str:
    if name in required:
        return "required"
    default = value.get("default")
    if isinstance(default, dict):  # a block: which one, where there are several; its own section has the rest
        return f"`type: {default['type']}`" if "type" in default else ""
    return f"`{json.dumps(default)}`" if default not in (None, []) else ""


def _description(value: Schema, definitions: dict[str, Schema]) -> str:
    names = _references(value)
    return str(value.get("description") or (definitions[names[0]].get("description", "") if len(names) == 1 else ""))


def _cell(text: str) -> str:
    return _paragraph(text).replace("|", "\\|")


def _paragraph(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, __doc__, "the models say"))
