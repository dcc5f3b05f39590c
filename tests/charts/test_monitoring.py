"""What the chart makes for Prometheus and Grafana. That it works is shown in tests/monitoring and tests/e2e."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.charts.helm import CHART, HelmRefused, Objects, container_of, only, render

SERVICE_MONITOR = "monitoring.serviceMonitor.enabled=true"
POD_MONITOR = "monitoring.podMonitor.enabled=true"
RULE = "monitoring.prometheusRule.enabled=true"
DASHBOARDS = "monitoring.dashboards.enabled=true"
KINDS = {"Service", "ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}


def kinds(*values: str) -> set[str]:
    return {kind for kind, _, _ in render(*values)} & KINDS


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], set(), id="nothing"),
        pytest.param([SERVICE_MONITOR], {"Service", "ServiceMonitor"}, id="through-a-service"),
        pytest.param([POD_MONITOR], {"PodMonitor"}, id="without"),
        pytest.param([RULE], {"PrometheusRule"}, id="alerts"),
        pytest.param([DASHBOARDS], {"ConfigMap"}, id="dashboards"),
    ],
)
def test_only_what_is_asked_for_is_made(values: list[str], expected: set[str]) -> None:
    assert kinds(*values) == expected


def pod_labels(objects: Objects) -> dict[str, str]:
    labels: dict[str, str] = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels


def test_the_service_monitor_leads_to_the_operators_port() -> None:
    objects = render(SERVICE_MONITOR)
    monitor, service = only(objects, "ServiceMonitor")["spec"], only(objects, "Service")
    assert monitor["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,), (port,) = monitor["endpoints"], service["spec"]["ports"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    assert service["spec"]["selector"].items() <= pod_labels(objects).items()
    assert port["targetPort"] in {port["name"] for port in container_of(objects)["ports"]}


def test_the_pod_monitor_leads_there_too_and_scrapes_alike() -> None:
    objects = render(POD_MONITOR)
    monitor = only(objects, "PodMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod_labels(objects).items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint.pop("port") in {port["name"] for port in container_of(objects)["ports"]}
    (other,) = only(render(SERVICE_MONITOR), "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint == {key: value for key, value in other.items() if key != "port"}


def test_values_reach_monitors() -> None:
    values = ("interval=1m", "scrapeTimeout=10s", "labels.release=stack")
    objects = render(SERVICE_MONITOR, *(f"monitoring.serviceMonitor.{value}" for value in values))
    monitor = only(objects, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("1m", "10s")
    assert monitor["metadata"]["labels"]["release"] == "stack"


def rules(body: dict[str, Any]) -> dict[str, Any]:
    return {rule["alert"]: rule for group in body["groups"] for rule in group["rules"]}


def test_the_rules_are_those_of_the_file_but_for_unwanted_ones() -> None:
    expected = rules(yaml.safe_load((CHART / "rules" / "alerts.yaml").read_text(encoding="utf-8")))
    assert rules(only(render(RULE), "PrometheusRule")["spec"]) == expected
    unwanted = {"CycleQDRunFailed", "CycleQDOperatorDown"}
    fewer = render(RULE, f"monitoring.prometheusRule.disabled={{{','.join(unwanted)}}}")
    assert rules(only(fewer, "PrometheusRule")["spec"]).keys() == expected.keys() - unwanted


def test_the_dashboards_are_where_the_sidecar_finds_them() -> None:
    objects = render(DASHBOARDS, "monitoring.dashboards.namespace=grafana", "monitoring.dashboards.annotations.a=b")
    config = only(objects, "ConfigMap")
    assert config["metadata"]["namespace"] == "grafana"
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == {"a": "b"}
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (CHART / "dashboards").iterdir()}
    assert {name: json.loads(text) for name, text in config["data"].items()} == files


MISTAKES = {
    "both-monitors": ([SERVICE_MONITOR, POD_MONITOR], "are both enabled, which counts everything twice"),
    "unheard-of-alert": (
        [RULE, "monitoring.prometheusRule.disabled={Stalled}"],
        "monitoring.prometheusRule.disabled names Stalled, but there are only CycleQDRunStalled, ",
    ),
    "unknown-value": (["monitoring.enabled=true"], "at '/monitoring': additional properties 'enabled' not allowed"),
    "interval": (
        ["monitoring.podMonitor.interval=30"],
        "at '/monitoring/podMonitor/interval': got number, want string",
    ),
    "timeout": (
        ["monitoring.serviceMonitor.scrapeTimeout=soon"],
        "at '/monitoring/serviceMonitor/scrapeTimeout': 'soon' does not match pattern",
    ),
    "namespace": (
        ["monitoring.dashboards.namespace=Grafana"],
        "at '/monitoring/dashboards/namespace': 'Grafana' does not match pattern",
    ),
}


@pytest.mark.parametrize(("values", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_in_these_words(values: list[str], message: str) -> None:
    with pytest.raises(HelmRefused) as refused:
        render(*values)
    assert message in str(refused.value)
