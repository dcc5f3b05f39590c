"""The alert rules, as Prometheus understands them: the table in alerts.yaml says when each fires and resolves."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.helm import CHART
from tests.operator.test_metrics import exposed_names

RULES = CHART / "rules" / "alerts.yaml"
TABLE = Path(__file__).parent / "alerts.yaml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


def promtool(*arguments: str) -> None:
    """Run promtool, which has to be content; skip the test where there is none."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not on PATH: the alert rules cannot be evaluated")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_and_resolve_when_the_table_says_so() -> None:
    promtool("test", "rules", str(TABLE))


def test_promtool_finds_nothing_to_object_to() -> None:
    promtool("check", "rules", "--lint-fatal", str(RULES))


def looks(alert: str) -> Iterator[list[bool]]:
    """Yield, for every test of the table about an alert, whether it fires, look by look."""
    for test in yaml.safe_load(TABLE.read_text(encoding="utf-8"))["tests"]:
        found = [bool(look["exp_alerts"]) for look in test["alert_rule_test"] if look["alertname"] == alert]
        if found:
            yield found


@pytest.mark.parametrize("alert", ALERTS)
def test_the_table_shows_every_alert_quiet_then_firing_then_quiet(alert: str) -> None:
    assert any("0" in seen and re.fullmatch("0+1+0+", seen) for seen in ("".join(map(_digit, x)) for x in looks(alert)))


def _digit(fires: bool) -> str:
    return str(int(fires))


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_alerts_use_metrics_that_there_are(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"\bcycleqd_\w+", rule["expr"] + rule["annotations"]["description"]))
    assert used
    assert used <= exposed_names()


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_alerts_say_what_is_wrong_and_how_bad_it_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
