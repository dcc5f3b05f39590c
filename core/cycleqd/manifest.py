"""Reading a manifest: YAML in, a validated ``CycleQDRun`` out, or one sentence that says what to change.

Other documents (comparisons) are read with the same functions and told about in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cycleqd.api import KIND, CycleQDRun
from cycleqd.errors import BadManifest, near_misses
from cycleqd.placing import Place, beside

Location = Sequence[int | str]
Model = TypeVar("Model", bound=BaseModel)


def load_manifest(path: Path) -> CycleQDRun:
    """Read and validate a manifest; relative paths in it become absolute, from its own folder.

    Raises:
        BadManifest: not readable, not YAML, or not a valid ``CycleQDRun``.
    """
    return parse_manifest(read_document(path, KIND), beside(path.parent), f"The manifest {path}")


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Return the one document of a YAML file.

    Args:
        path: of the file.
        kind: what it should be, for messages.

    Raises:
        BadManifest: not readable, not YAML, or not exactly one mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadManifest(f"The manifest {path} cannot be read ({error}): name a {kind} file.") from error
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise BadManifest(f"The manifest {path} is not YAML{line} ({problem}): correct it.") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadManifest(f"The manifest {path} holds {len(documents)} documents, expected one {kind}.")
    return documents[0]


def parse_manifest(document: Mapping[str, Any], place: Place | None = None, origin: str = "The manifest") -> CycleQDRun:
    """Validate a manifest that is already parsed: :func:`validated` for a ``CycleQDRun``."""
    return validated(CycleQDRun, document, place, origin)


def validated(model: type[Model], document: Mapping[str, Any], place: Place | None, origin: str) -> Model:
    """Return a document as ``model`` has it.

    Args:
        model: what it should be.
        document: as YAML or the API server gives it.
        place: where its relative URIs lead; None leaves them alone.
        origin: how messages call the document.

    Raises:
        BadManifest: one sentence about the first mistake, and how many more there are.
    """
    try:
        return model.model_validate(document, context={"place": place})
    except ValidationError as error:
        problems = _independent(error.errors(include_url=False))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BadManifest(f"{origin}: {_sentence(problems[0], model.model_json_schema())}{more}.") from error


def _independent(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out what follows from a mistake further inside: a list with a broken entry also counts as too short."""
    places = [tuple(problem["loc"]) for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def _sentence(problem: Mapping[str, Any], root: dict[str, Any]) -> str:
    location: Location = problem["loc"]
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _schema_at(location[:-1], root).get("properties", {})
        return f"unknown field {_dotted(location, root)}{near_misses(str(location[-1]), known)}"
    if kind == "missing":
        return f"{_dotted(location, root)} is missing: add it"
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        hint = near_misses(context["tag"], known)
        return f"{_dotted(location, root)}.type is {context['tag']!r}, which is not a type{hint}"
    if kind == "union_tag_not_found":
        return f"{_dotted(location, root)}.type is missing: it decides which other fields there are"
    if kind == "value_error":
        return f"{_dotted(location, root)}: {context['error']}" if location else str(context["error"])
    if kind in {"too_short", "too_long"}:
        limit = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"{_dotted(location, root)} has {context['actual_length']} entries, expected {limit}"
    got = problem["input"]
    shown = f", got {got!r}" if isinstance(got, str | int | float | bool | None) else ""
    return f"{_dotted(location, root)}: {problem['msg'][0].lower()}{problem['msg'][1:]}{shown}"


def _dotted(location: Location, root: dict[str, Any]) -> str:
    """Write a location as a user would: ``spec.tasks[0].evaluator.type``. Tags of unions are left out."""
    text, schema = "", root
    for step in location:
        if _is_tag(schema, step):
            schema = _branch(root, schema, step)
            continue
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
        schema = _step(root, schema, step)
    return text


def _schema_at(location: Location, root: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of the part of the document at ``location``."""
    schema = root
    for step in location:
        schema = _branch(root, schema, step) if _is_tag(schema, step) else _step(root, schema, step)
    return schema


def _is_tag(schema: Mapping[str, Any], step: int | str) -> bool:
    return step in schema.get("discriminator", {}).get("mapping", {})


def _branch(root: dict[str, Any], schema: Mapping[str, Any], tag: int | str) -> dict[str, Any]:
    return _resolve(root, {"$ref": schema["discriminator"]["mapping"][tag]})


def _step(root: dict[str, Any], schema: Mapping[str, Any], step: int | str) -> dict[str, Any]:
    inner = schema.get("items", {}) if isinstance(step, int) else schema.get("properties", {}).get(step, {})
    return _resolve(root, inner)


def _resolve(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        resolved: dict[str, Any] = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return resolved
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    return _resolve(root, options[0]) if len(options) == 1 else schema
