"""Write docs/manifest.md, the reference of the manifest, from the API models; ``--check`` only compares.

Every field's description, type and default come from the models, so the page cannot drift from what is validated.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cycleqd.api import CycleQDRun

PAGE = Path(__file__).parents[1] / "docs" / "manifest.md"
INTRODUCTION = """\
# The manifest

A `CycleQDRun` (`apiVersion: cycleqd.dev/v1alpha1`) says which experts of which base model are to be merged, what scores
them, and how the search goes. The same file serves `cycleqd run FILE` on a laptop and `kubectl apply` on a cluster.
`cycleqd validate FILE` checks it, `cycleqd init` writes a first one.

This page is generated from the models in `core/cycleqd/api` by `make docs`; CI checks that it is current.
"""


def main() -> int:
    """Write the page, or compare it. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the page is not current")
    page = render()
    if not parser.parse_args().check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE} is not what the models say: run `make docs` and commit it.", file=sys.stderr)
    return 1


def render() -> str:
    """Return the page as Markdown."""
    schema = CycleQDRun.model_json_schema()
    definitions: dict[str, dict[str, Any]] = schema["$defs"]
    order: list[str] = []
    _visit(definitions["RunSpec"], definitions, order)
    sections = [_section("spec", definitions["RunSpec"], definitions)]
    sections += [_section(name, definitions[name], definitions) for name in order]
    return INTRODUCTION + "\n" + "\n".join(sections)


def _visit(schema: dict[str, Any], definitions: dict[str, dict[str, Any]], order: list[str]) -> None:
    """Collect the definitions that a schema uses, in the order of their first use."""
    for value in schema.get("properties", {}).values():
        for name in _references(value):
            if name not in order:
                order.append(name)
                _visit(definitions[name], definitions, order)


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else []
        return own + [name for key, value in schema.items() if key != "discriminator" for name in _references(value)]
    if isinstance(schema, list):
        return [name for value in schema for name in _references(value)]
    return []


def _section(title: str, schema: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> str:
    required = set(schema.get("required", []))
    rows = [
        f"| `{name}` | {_type(value)} | {_default(name, value, required)} | {_cell(_description(value, definitions))} |"
        for name, value in schema.get("properties", {}).items()
    ]
    table = "\n".join(["| field | type | default | what |", "| --- | --- | --- | --- |", *rows])
    return f"## {title}\n\n{_paragraph(schema.get('description', ''))}\n\n{table}\n"


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
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


def _range(value: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value and abs(value[key]) < 2**62]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(name: str, value: dict[str, Any], required: set[str]) -> str:
    if name in required:
        return "required"
    default = value.get("default")
    if default is None or isinstance(default, dict | list):
        return "" if not default or isinstance(default, dict) else f"`{json.dumps(default)}`"
    return f"`{json.dumps(default)}`"


def _description(value: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> str:
    names = _references(value)
    return str(value.get("description") or (definitions[names[0]].get("description", "") if len(names) == 1 else ""))


def _cell(text: str) -> str:
    return _paragraph(text).replace("|", "\\|")


def _paragraph(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    sys.exit(main())
