"""The alert rules, as Prometheus understands them: the table in alerts.yaml says when each fires and resolves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.prometheus import RULES

TABLE = Path(__file__).parent / "alerts.yaml"
REFERENCE = Path(__file__).parents[2] / "docs" / "metrics.md"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


def promtool(*arguments: str) -> None:
    """Run promtool, which has to be content; skip the test where there is none."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not on PATH: alert rules cannot be evaluated (Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_and_resolve_when_the_table_says_so() -> None:
    promtool("test", "rules", str(TABLE))


def test_promtool_finds_nothing_to_object_to() -> None:
    promtool("check", "rules", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("alert", ALERTS)
def test_the_table_shows_every_alert_quiet_then_firing_then_quiet(alert: str) -> None:
    tests = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["tests"]
    courses = (
        "".join("F" if look["exp_alerts"] else "q" for look in test["alert_rule_test"] if look["alertname"] == alert)
        for test in tests
    )
    assert any(re.fullmatch("q+F+q+", course) for course in courses)


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_use_metrics_that_there_are(alert: str) -> None:
    rule = ALERTS[alert]
    used = set(re.findall(r"\bcycleqd_\w+", rule["expr"] + rule["annotations"]["description"]))
    assert used
    assert used <= set(re.findall(r"`(cycleqd_\w+)`", REFERENCE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_say_what_is_wrong_and_how_bad_it_is(alert: str) -> None:
    assert ALERTS[alert]["labels"]["severity"] in ("warning", "critical")
    assert set(ALERTS[alert]["annotations"]) == {"summary", "description"}
