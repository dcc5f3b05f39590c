"""What prometheus-operator makes of the chart's monitors: scrape configurations of Prometheus."""

from __future__ import annotations

import re
from typing import Any

Document = dict[str, Any]

SCRAPE_INTERVAL = "500ms"
"""In the place of the monitor's own: a test's run is over before that."""
ATTACHED = {"namespace": "namespace", "pod": "pod_name", "service": "service_name", "container": "pod_container_name"}
"""Labels that prometheus-operator gives to every target, and which of the discovered ones they are."""


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


def discovery(monitor: Document, kubeconfig: str) -> Document:
    """Return where the only endpoint of a ServiceMonitor is found in the cluster of a kubeconfig."""
    (endpoint,) = monitor["spec"]["endpoints"]
    chosen = {
        f"service_label_{re.sub('[^A-Za-z0-9_]', '_', name)}": value
        for name, value in monitor["spec"]["selector"]["matchLabels"].items()
    }
    keep = chosen | {"endpointslice_port_name": endpoint["port"]}
    return {
        "kubernetes_sd_configs": [
            {
                "role": "endpointslice",
                "kubeconfig_file": kubeconfig,
                "namespaces": {"names": monitor["spec"]["namespaceSelector"]["matchNames"]},
            }
        ],
        "relabel_configs": [
            *(
                {"action": "keep", "source_labels": [f"__meta_kubernetes_{name}"], "regex": re.escape(value)}
                for name, value in keep.items()
            ),
            *(
                {"source_labels": [f"__meta_kubernetes_{found}"], "target_label": label}
                for label, found in ATTACHED.items()
            ),
        ],
    }
