"""The CustomResourceDefinition, generated from the API models: ``python -m cycleqd.crd [--check] [FOLDER]``.

Rules across fields that the models check in Python are repeated here in CEL, so that ``kubectl apply`` refuses what it
can. How a model becomes a schema that Kubernetes takes stands in ``structural``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from cycleqd.api.run import GROUP, KIND, RESERVED_NAMES, VERSION, CycleQDRun
from cycleqd.api.search import Grid
from cycleqd.structural import INT64_MAX, LIST_KEYS, Schema, cel_rule, structural

PLURAL = "cycleqdruns"
FILE_NAME = f"{GROUP}_{PLURAL}.yaml"
KEEP = {"helm.sh/resource-policy": "keep"}
"""Helm deletes every run with the definition, so it must never delete the definition."""
COPIES: Mapping[Path, Mapping[str, str]] = {
    Path("crds") / FILE_NAME: {},
    Path("charts") / "cycleqd" / "files" / FILE_NAME: KEEP,
}
"""The generated files, below the repository's root, and their annotations. The chart's is ready to be installed as it
is, because Helm's own YAML functions would turn the integers of the schema into floats."""
HEADER = "# Generated from cycleqd.api by `python -m cycleqd.crd`. Do not edit.\n"

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

MOST_EXPERTS = 64
"""As spec.experts allows."""


def most_bins(n_tasks: int) -> int:
    """Return how many bins an axis may have so that 64 bits count the cells of ``n_tasks - 1`` axes; at most 1000."""
    return max(bins for bins in range(1, 1001) if bins ** (n_tasks - 1) <= INT64_MAX)


COUNTABLE = (
    # CEL has no powers: a list of limits, for 2, 3, ... tasks.
    "self.search.archive.type != 'Grid' || "
    f"(has(self.search.archive.bins) ? self.search.archive.bins : {Grid().bins}) <= "
    f"{[most_bins(n) for n in range(2, MOST_EXPERTS + 1)]}[self.tasks.size() - 2]"
)

RACEABLE = (
    "!self.search.racing.enabled || !has(self.search.archive.behaviour) || self.search.archive.behaviour == 'Scores'"
)

_CHILD_BASIS = (
    "self.search.mutation.type == 'Svd' && has(self.search.mutation.basis) && self.search.mutation.basis == 'Child'"
)

SPEC_RULES = (
    ("self.tasks.all(t, self.experts.exists(e, e.name == t.expert))", "every task must name one of spec.experts"),
    ("self.experts.all(e, self.tasks.exists_one(t, t.expert == e.name))", "give every expert exactly one task"),
    (
        "self.search.cycle != 'Fixed' || self.search.fixedTask < self.tasks.size()",
        "search.fixedTask is an index into tasks",
    ),
    (
        RACEABLE,
        "search.racing.enabled needs search.archive.behaviour Scores",
    ),
    (
        # A default that depends on the type is not in the schema, so the rule knows it.
        (
            f"!({_CHILD_BASIS}) || (has(self.search.crossover.granularity) ? "
            "self.search.crossover.granularity != 'Direction' : self.search.crossover.type != 'Uniform')"
        ),
        "search.crossover.granularity Direction needs search.mutation.basis Expert: parents share no other directions",
    ),
    (
        COUNTABLE,
        "search.archive.bins makes more cells than 64 bits can count with so many tasks: use fewer, or another type",
    ),
    (
        "self.search.noise.reevaluateEvery == 0 || self.tasks.all(t, t.items.reserve > 0)",
        "search.noise.reevaluateEvery needs items.reserve in every task",
    ),
    (
        (
            "!self.search.strict || self.search.noise.reevaluateEvery == 0 || "
            "self.search.noise.reevaluateEvery > self.search.lag"
        ),
        "search.noise.reevaluateEvery must exceed search.lag in a strict run",
    ),
    (
        # Laptops may keep a run in any folder; the operator sees no worker's folder.
        "self.storage.uri.startsWith('s3://') || !self.storage.uri.matches('^/|://')",
        "storage.uri must be s3://BUCKET/PREFIX on a cluster, or a path from the operator's storage root",
    ),
)


def build(annotations: Mapping[str, str] | None = None) -> Schema:
    """Return the CustomResourceDefinition of :class:`~cycleqd.api.run.CycleQDRun`."""
    whole = CycleQDRun.model_json_schema(by_alias=True)
    schema = structural(whole, whole["$defs"])
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
        "metadata": {"name": f"{PLURAL}.{GROUP}"} | ({"annotations": dict(annotations)} if annotations else {}),
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _add_rules(spec: Schema) -> None:
    """Add to the spec's schema what no keyword of a schema can say."""
    fields = spec["properties"]
    search = fields["search"]["properties"]
    frozen = {f"spec.{name}": fields[name] for name in IMMUTABLE}
    frozen |= {f"spec.search.{name}": field for name, field in search.items() if name != "children"}
    for path, field in frozen.items():
        message = f"{path} cannot change during a run: start another run under another storage.uri"
        field.setdefault("x-kubernetes-validations", []).append(cel_rule("self == oldSelf", message))
    for name in ("experts", "tasks"):  # lists with keys are equal in any order, but ids follow the order
        same_order = f"self.map(x, x.{LIST_KEYS[name]}) == oldSelf.map(x, x.{LIST_KEYS[name]})"
        fields[name]["x-kubernetes-validations"].append(cel_rule(same_order, f"the order of spec.{name} cannot change"))
    search["children"]["x-kubernetes-validations"] = [
        cel_rule("self >= oldSelf", "spec.search.children can only be raised")
    ]
    reserved = cel_rule(
        f"!(self in {sorted(RESERVED_NAMES)})", "the names base, average and merged are the report's own"
    )
    fields["experts"]["items"]["properties"]["name"]["x-kubernetes-validations"] = [reserved]
    spec["x-kubernetes-validations"] = [cel_rule(*pair) for pair in SPEC_RULES]


class _Plain(yaml.SafeDumper):
    """Writes repeated parts out, since Kubernetes tools differ in how they read YAML's references."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Never refer."""
        return True


def render(annotations: Mapping[str, str]) -> str:
    """Return the text of a file."""
    return HEADER + yaml.dump(build(annotations), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` return 1 if one is not what would be written."""
    parser = argparse.ArgumentParser(prog="python -m cycleqd.crd", description="Write the CustomResourceDefinition.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is out of date")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the repository's root")
    options = parser.parse_args(arguments)
    stale = []
    for name, notes in COPIES.items():
        path, text = options.folder / name, render(notes)
        if options.check:
            stale += [path] if not path.exists() or path.read_text(encoding="utf-8") != text else []
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        sys.stderr.write(f"{path} does not fit the API models: run `python -m cycleqd.crd` and commit it.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
