"""Write docs/metrics.md, what Prometheus and Grafana show, from code, alert rules and dashboards.

``--check`` only compares. Names, types, labels and texts come from where they are used, so the page cannot drift.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from generated import write_or_check
from prometheus_client.core import Metric

from cycleqd_operator.metrics import Metrics
from cycleqd_operator.run_metrics import FAMILIES, RUN_LABELS

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "cycleqd"
PAGE = ROOT / "docs" / "metrics.md"
SUFFIXES: Mapping[str, Sequence[str]] = {
    "counter": ("_total",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
}
"""With which a family's name is exposed, by type; others have none."""
INTRODUCTION = """\
# Metrics, alerts, dashboards

The operator serves `/metrics` on port 8080. What workers know arrives with their results, so nothing but the operator
is scraped and nothing is pushed. This page is generated from the code, `charts/cycleqd/rules` and
`charts/cycleqd/dashboards` by `make docs`; CI checks that it is current.

With prometheus-operator and Grafana's sidecar, as in kube-prometheus-stack, the chart brings everything:

```yaml
monitoring:
  serviceMonitor: {enabled: true, labels: {release: kube-prometheus-stack}}
  prometheusRule: {enabled: true, labels: {release: kube-prometheus-stack}}
  dashboards: {enabled: true}
```

Without them, scrape the operator's pods with `honor_labels: true` (the label `namespace` of a run's series is the
run's), give Prometheus `charts/cycleqd/rules/alerts.yaml` as it is, and import the files of `charts/cycleqd/dashboards`
into Grafana.
"""
RUNS = """\
## Metrics of runs

All have the labels `namespace` and `run`, and vanish with their run. They are computed from the run's status and
results, so a new operator goes on where the last one ended. Counters appear when the results were read once.
"""
EXPRESSIONS = """\
## Asked often

| question | expression |
| --- | --- |
| children an hour | `deriv(cycleqd_run_children{state="done"}[1h]) * 3600` |
| how busy workers are: share of a worker's time that is evaluation | `rate(cycleqd_run_evaluation_seconds_sum[1h]) \
/ rate(cycleqd_run_worker_seconds_total[1h])` |
| how busy GPUs are: share of the time for which they are held | `rate(cycleqd_run_gpu_busy_seconds_total[2h]) \
/ avg_over_time(cycleqd_run_gpus[2h])` |
| GPU hours that results took | `cycleqd_run_gpu_seconds_total / 3600` |
| tokens generated a second | `rate(cycleqd_run_answer_tokens_total[1h])` |
"""


def render() -> str:
    """Return the page as Markdown."""
    runs = [
        _row(family.kind(family.name, family.text), [label for label in family.labels if label not in RUN_LABELS])
        for family in FAMILIES
    ]
    columns = ("metric", "type", "labels", "what")
    return "\n".join(
        [
            INTRODUCTION,
            f"{RUNS}\n{_table(columns, runs)}",
            f"## Metrics of the operator\n\n{_table(columns, _operator_rows())}",
            EXPRESSIONS,
            f"## Alerts\n\n{_table(('alert', 'severity', 'after', 'what'), _alert_rows())}",
            "## Dashboards\n",
            *(_dashboard(path) for path in sorted((CHART / "dashboards").glob("*.json"))),
        ]
    )


def _operator_rows() -> Iterable[list[str]]:
    """Yield the metrics of a process that has no runs. Those of one kind of request appear with the first one."""
    metrics = Metrics()
    with metrics.s3_request("get"):
        pass
    runs = {family.name for family in FAMILIES}
    for family in metrics.registry.collect():
        if family.name not in runs:
            labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
            yield _row(family, labels)


def _row(family: Metric, labels: Iterable[str]) -> list[str]:
    names = [f"`{family.name}{suffix}`" for suffix in SUFFIXES.get(family.type, ("",))]
    return ["<br>".join(names), family.type, ", ".join(f"`{label}`" for label in labels), family.documentation]


def _alert_rows() -> Iterable[list[str]]:
    rules = yaml.safe_load((CHART / "rules" / "alerts.yaml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            texts = rule["annotations"]
            what = f"{texts['summary']} {texts['description']}"
            yield [f"`{rule['alert']}`", rule["labels"]["severity"], rule.get("for", "at once"), _plain(what)]


def _plain(text: str) -> str:
    """Return an annotation with words in the place of what Prometheus fills in."""
    return re.sub(r"{{ \$value[^}]*}}", "…", re.sub(r"{{ \$labels\.(\w+) }}", lambda found: found[1].upper(), text))


def _dashboard(path: Path) -> str:
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = [[panel["title"], panel["description"]] for panel in board["panels"] if panel["type"] != "row"]
    return f"### {board['title']}\n\n`{path.name}`: {board['description']}\n\n{_table(('panel', 'what'), rows)}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, __doc__, "code, rules and dashboards say"))
