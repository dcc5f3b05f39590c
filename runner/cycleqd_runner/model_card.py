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
        benchmarks: columns of the table of what else was kept.
        kept: row name to one share of the base model's score per benchmark, 1 for as much; None: not known.
        notes: what qualifies the scores, in sentences.
    """

    name: str
    base_model: str
    experts: Mapping[str, str]
    summary: str = ""
    lineage: Sequence[str] = ()
    tasks: Sequence[str] = ()
    scores: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    benchmarks: Sequence[str] = ()
    kept: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    notes: Sequence[str] = ()

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
        parts += _table("Scores", self.tasks, self.scores)
        parts += _table("Kept of the base model's scores on other benchmarks", self.benchmarks, self.kept)
        if self.notes:
            parts += ["", *(f"- {note}" for note in self.notes)]
        if self.lineage:
            parts += ["", "## Lineage", "", *(f"1. {line}" for line in self.lineage)]
        return "\n".join([*front, *parts]) + "\n"


def _table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> list[str]:
    if not rows:
        return []
    head = [
        "",
        f"## {title}",
        "",
        f"| model | {' | '.join(map(_cell, columns))} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    return head + [f"| {_cell(name)} | {' | '.join(map(_score, values))} |" for name, values in rows.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
