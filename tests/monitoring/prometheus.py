"""A real Prometheus of a test's own, and what it is asked."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.helm import CHART

RULES = CHART / "rules" / "alerts.yaml"
START_SECONDS = 60
"""It takes one."""


@dataclass(frozen=True)
class Prometheus:
    """One that listens on this machine."""

    url: str

    def ask(self, path: str, **parameters: object) -> Any:
        """Return the ``data`` of an answer of its HTTP API."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def numbers(self, expression: str, start: float, end: float) -> list[float]:
        """Return all numbers of an expression between two Unix times, twice a second, as a panel draws them."""
        found = self.ask("query_range", query=expression, start=start, end=end, step=0.5)["result"]
        values = (float(value) for series in found for _, value in series["values"])
        return [value for value in values if math.isfinite(value)]

    def rules(self) -> list[dict[str, Any]]:
        """Return the alert rules, each with how its evaluation went."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@contextmanager
def prometheus(folder: Path, scrape_config: dict[str, Any]) -> Iterator[Prometheus]:
    """Run a Prometheus with the chart's rules and its data in ``folder``; skip the test where there is none."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not on PATH: nothing can be scraped (Debian: apt-get install prometheus)")
    configuration = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [scrape_config],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_for(f"http://{address}/-/ready", process, folder / "prometheus.log")
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"Prometheus did not start: {log.read_text(encoding='utf-8')}")
