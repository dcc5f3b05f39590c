"""The manifest that ``cycleqd init`` writes. What its fields mean in full is :mod:`cycleqd.api`'s knowledge."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cycleqd.errors import BadManifest, near_misses

EVALUATORS = ("PythonTests", "Shell", "Sql")
"""Those that need nothing but their type."""


@dataclass(frozen=True)
class StarterExpert:
    """One expert and its task.

    Attributes:
        name: of the expert, and of its task.
        uri: of the expert.
        evaluator: type of the task's evaluator.
    """

    name: str
    uri: str
    evaluator: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read NAME=URI:EVALUATOR.

        Raises:
            BadManifest: it has another form, or the evaluator is not known.
        """
        name, equals, rest = text.partition("=")
        uri, colon, evaluator = rest.rpartition(":")
        if not (name and equals and uri and colon and evaluator):
            raise BadManifest(
                f"--expert is {text!r}, expected NAME=URI:EVALUATOR, for example sql=hf://me/sql-expert:Sql."
            )
        if evaluator not in EVALUATORS:
            raise BadManifest(
                f"--expert {name} has the evaluator {evaluator!r}, which is none{near_misses(evaluator, EVALUATORS)}."
            )
        return cls(name, uri, evaluator)


EXAMPLES = (
    StarterExpert("sql", "hf://ORG/EXPERT-SQL", "Sql"),
    StarterExpert("shell", "hf://ORG/EXPERT-SHELL", "Shell"),
    StarterExpert("python", "hf://ORG/EXPERT-PYTHON", "PythonTests"),
)


def starter_manifest(name: str, base: str | None, experts: Sequence[StarterExpert], store: str | None) -> str:
    """Return a commented manifest; what was not given is filled with examples.

    Args:
        name: of the run.
        base: URI of the base model.
        experts: at least two, or none for examples.
        store: URI of the run's storage.
    """
    chosen = experts or EXAMPLES
    todo = "" if experts and base else "# Replace the hf://ORG/... names below by your own models.\n"
    return "".join(
        [
            "# A CycleQD run. Check it with `cycleqd validate`, start it and go on with it with `cycleqd run`.\n",
            todo,
            _HEAD.format(name=name, base=_quote(base or "hf://ORG/BASE-MODEL")),
            *(f"    - {{name: {expert.name}, uri: {_quote(expert.uri)}}}\n" for expert in chosen),
            _TASKS,
            *(_TASK.format(name=expert.name, evaluator=expert.evaluator) for expert in chosen),
            _TAIL.format(store=_quote(store or f"runs/{name}")),
        ]
    )


def run_name(stem: str) -> str:
    """Return a name for a run whose manifest has this file name, without suffix."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "run"


def _quote(text: str) -> str:
    return json.dumps(text)  # JSON strings are YAML strings


_HEAD = """\
apiVersion: cycleqd.dev/v1alpha1
kind: CycleQDRun
metadata:
  name: {name}
spec:
  # The model that all experts were fine-tuned from: hf://ORG/NAME, s3://BUCKET/PREFIX or a folder.
  baseModel: {{uri: {base}}}

  # Full checkpoints or PEFT LoRA adapters, at least two. Relative paths start from this file's folder.
  experts:
"""
_TASKS = """
  # One task per expert, in cycle order. Types: Sql, Shell, PythonTests; `data` names an items file of your own.
  tasks:
"""
_TASK = """\
    - name: {name}
      expert: {name}
      evaluator: {{type: {evaluator}}}
      items: {{search: 64, validation: 64, test: 100}}
"""
_TAIL = """
  search:
    children: 200        # may be raised later; the paper breeds 1200
    seed: 0
    # strict: true       # bit-for-bit repeatable, whatever the number of workers

  # Where the run's state and its results go: s3://BUCKET/PREFIX (credentials in AWS_*) or a folder.
  storage: {{uri: {store}}}

  workers:
    parallelism: 1       # processes on this machine
"""
