"""What prometheus-operator makes of the chart's monitors: scrape configurations of Prometheus.

Targets are looked up here, once, instead of by Prometheus: Debian builds it without discovery in Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.e2e.cluster import Kubectl

Document = dict[str, Any]

SCRAPE_INTERVAL = "500ms"
"""In the place of the monitor's own: a test's run is over before that."""


def scrape_config(endpoint: Document) -> Document:
    """Return how an endpoint of a monitor is scraped, without where it is found."""
    unknown = set(endpoint) - {"port", "path", "interval", "scrapeTimeout", "honorLabels", "metricRelabelings"}
    assert not unknown, f"this translation leaves out {unknown}"
    return {
        "job_name": "cycleqd",
        "metrics_path": endpoint["path"],
        "scrape_interval": SCRAPE_INTERVAL,
        "scrape_timeout": SCRAPE_INTERVAL,
        "honor_labels": endpoint["honorLabels"],
        "metric_relabel_configs": [
            {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key): value for key, value in relabeling.items()}
            for relabeling in endpoint["metricRelabelings"]
        ],
    }


def targets(kubectl: Kubectl, monitor: Document) -> Iterator[Document]:
    """Yield what the only endpoint of a ServiceMonitor means now: static configurations with their labels."""
    (endpoint,) = monitor["spec"]["endpoints"]
    selector = ",".join(f"{name}={value}" for name, value in monitor["spec"]["selector"]["matchLabels"].items())
    for namespace in monitor["spec"]["namespaceSelector"]["matchNames"]:
        for service in kubectl.get("services", "", namespace, f"--selector={selector}")["items"]:
            name = service["metadata"]["name"]
            slices = kubectl.get("endpointslices", "", namespace, f"--selector=kubernetes.io/service-name={name}")
            for part in slices["items"]:
                for port in part["ports"] or ():
                    for found in part["endpoints"] or ():
                        if port["name"] == endpoint["port"]:
                            pod = found["targetRef"]["name"]
                            labels = {"namespace": namespace, "service": name, "pod": pod, "endpoint": port["name"]}
                            addresses = [f"{address}:{port['port']}" for address in found["addresses"]]
                            yield {"targets": addresses, "labels": labels}
