"""The README of an exported model: what the Hub shows, with lineage and scores. Filling it in is the caller's work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelCard:
    """What is worth saying about a merged model.

    Attributes:
        name: title.
        base_model: name or URI of the base model.
        experts: expert name to its URI.
        summary: one paragraph on how the model was made.
        lineage: one line an ancestor, the model itself first.
        tasks: columns of the table of scores.
        scores: row name (base, experts, this model) to one score per task, fractions in [0, 1]; None: not scored.
    """

    name: str
    base_model: str
    experts: Mapping[str, str]
    summary: str = ""
    lineage: Sequence[str] = ()
    tasks: Sequence[str] = ()
    scores: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def render(self, library: str = "transformers") -> str:
        """Return the README: YAML front matter for the Hub, then Markdown.

        Args:
            library: ``transformers`` for a checkpoint, ``peft`` for an adapter.
        """
        # JSON strings are YAML strings, whatever characters a name has.
        repository = self.base_model.removeprefix("hf://")
        front = ["---", f"base_model: {json.dumps(repository)}", f"library_name: {library}", "tags:"]
        front += ["- merge", "- cycleqd", "---", "", f"# {self.name}", ""]
        parts = [self.summary, ""] if self.summary else []
        parts += ["## Experts", "", "| expert | source |", "| --- | --- |"]
        parts += [f"| {_cell(name)} | {_cell(uri)} |" for name, uri in self.experts.items()]
        if self.scores:
            parts += ["", "## Scores", "", f"| model | {' | '.join(map(_cell, self.tasks))} |"]
            parts += ["| --- |" + " ---: |" * len(self.tasks)]
            parts += [f"| {_cell(row)} | {' | '.join(map(_score, values))} |" for row, values in self.scores.items()]
        if self.lineage:
            parts += ["", "## Lineage", "", *(f"1. {line}" for line in self.lineage)]
        return "\n".join([*front, *parts]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
