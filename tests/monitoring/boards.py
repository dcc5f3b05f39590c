"""The chart's dashboards, as Grafana reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.charts.helm import CHART

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((CHART / "dashboards").glob("*.json"))
}

_VARIABLE = re.compile(r"\$(\w+)")


class Query(NamedTuple):
    """One query of a panel."""

    board: str
    panel: str
    expression: str

    def with_variables(self, values: Mapping[str, str]) -> str:
        """Return the expression that Grafana sends when variables have these values."""
        return _VARIABLE.sub(lambda found: values[found[1]], self.expression)

    @property
    def variables(self) -> set[str]:
        """Names of the variables in it."""
        return set(_VARIABLE.findall(self.expression))


def panels(board: str) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Yield the queries of all panels, and those of the variables that are chosen from a list."""
    for board, content in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Query(board, panel["title"], target["expr"])
        for variable in content["templating"]["list"]:
            if variable["type"] == "query":
                metric, _, _ = variable["query"]["query"].removeprefix("label_values(").rpartition(",")
                yield Query(board, f"variable {variable['name']}", metric)
