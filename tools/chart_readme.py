"""Write charts/cycleqd/README.md, the reference of the chart's values; ``--check`` only compares.

Names, descriptions and what is allowed come from values.schema.json, defaults from values.yaml.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from generated import write_or_check

CHART = Path(__file__).parents[1] / "charts" / "cycleqd"
PAGE = CHART / "README.md"
INTRODUCTION = """\
# The chart cycleqd

Installs the operator that evolves one language model out of single-skill experts, and the definition of its
`CycleQDRun`. It takes Kubernetes 1.31 or newer and Helm 3. [Operations](../../docs/operations.md) says how to run it.

```sh
# To try it out: with an S3 server and the quickstart's models.
helm install cycleqd charts/cycleqd --namespace cycleqd --create-namespace --set objectStore.enabled=true
helm test cycleqd --namespace cycleqd --logs
kubectl apply --namespace cycleqd --filename examples/quickstart/run.yaml

# In earnest: with your S3, for the runs of two teams, and a second operator that waits.
helm install cycleqd charts/cycleqd --namespace cycleqd --create-namespace --values - <<EOF
replicas: 2
watch: {namespaces: [team-a, team-b]}
storage: {root: "s3://models/", credentialsSecretName: s3-credentials}
networkPolicy: {enabled: true}
EOF
```

- **Upgrade**: `helm upgrade` replaces the operator; workers and runs go on. It upgrades the definition, too.
- **Uninstall**: `helm uninstall` keeps the definition, all runs, and the object store's PersistentVolumeClaim.
- **Rights**: Roles in the namespaces that are served, and nothing elsewhere; one ClusterRole with `watch.clusterWide`.
- **Pods** satisfy restricted Pod Security.

## Values

The schema refuses names and values that are not listed here. This page is generated from `values.schema.json` and
`values.yaml` by `make docs`; CI checks that it is current.
"""
HEAD = "| Value | Default | What it is |\n| --- | --- | --- |\n"


class Field(NamedTuple):
    """One value that is no group of values: its path, what the schema says of it, and its default."""

    path: str
    schema: dict[str, Any]
    default: object


def render() -> str:
    """Return the page as Markdown: a table of what is in no group, and one of each group."""
    whole = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    single, sections = [], []
    for name, schema in whole["properties"].items():
        fields = list(_fields(name, schema, values.get(name), whole["definitions"]))
        if fields[0].path == name:
            single += fields
        else:
            sections.append(f"### {name}\n\n{schema['description']}\n\n{HEAD}{''.join(map(_row, fields))}")
    return "\n".join([INTRODUCTION, HEAD + "".join(map(_row, single)), *sections])


def _fields(path: str, schema: dict[str, Any], default: object, definitions: dict[str, Any]) -> Iterator[Field]:
    """Yield the fields below ``path``, or itself if it is one."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    inner = schema.get("properties")
    if not inner:
        yield Field(path, schema, default)
        return
    defaults = default if isinstance(default, dict) else {}
    for name, field in inner.items():
        yield from _fields(f"{path}.{name}", field, defaults.get(name), definitions)


def _row(field: Field) -> str:
    default = "" if field.default is None else f"`{json.dumps(field.default)}`"
    allowed = ", ".join(f"`{value}`" for value in field.schema.get("enum", ()))
    text = f"{field.schema['description']}{f' One of {allowed}.' if allowed else ''}"
    return f"| `{field.path}` | {_cell(default)} | {_cell(text)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, __doc__, "the chart's schema and values say"))
