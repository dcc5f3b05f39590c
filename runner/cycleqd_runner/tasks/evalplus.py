"""EvalPlus' JSON Lines (MBPP+, HumanEval+), and how its problems are put to a model. Running answers is not done here.

A problem has inputs in place of tests: an answer must return what the problem's own solution returns. Both run in the
sandbox, the solution first; ``inside/evalplus.py`` compares.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cycleqd_runner.tasks.inside import program
from cycleqd_runner.tasks.items import PythonItem
from cycleqd_runner.tasks.mbpp import mbpp_prompt
from cycleqd_runner.tasks.prompts import PAPER_PYTHON_PROMPT

_SHAPES = {
    "t": "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    "lt": "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    "tt": "259 401 445",
    "T": "278 580 615 791",
    "t .": "250 307 405 446 617 720 763 808",
    ". t": "106 750",
    "lt .": "75 413 444 753",
    "dt .": "722",
    "ls": "115",
    "c": "252",
    "f c": "124",
}
"""What arguments are in Python where JSON has but lists and strings, and the problems of MBPP+ that are called so.

A word an argument, the last for all that follow. Letters from the outside in: ``t`` tuple, ``l`` list, ``d``
dictionary, ``s`` set, ``T`` tuples all the way down, ``f`` float, ``c`` complex, ``.`` as it is.
"""

SHAPES = {f"Mbpp/{number}": shape for shape, numbers in _SHAPES.items() for number in numbers.split()}
"""Task id to the shape of its arguments; who is not here takes them as they are."""

Inputs = Annotated[list[list[Any]], BeforeValidator(lambda value: value or [])]
"""Lists of arguments; EvalPlus writes ``{}`` for none."""


class EvalPlusLine(BaseModel):
    """A problem of ``MbppPlus.jsonl`` or ``HumanEvalPlus.jsonl``; ``contract`` and ``assertion`` judge no answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: Annotated[str, Field(pattern=r"^(Mbpp|HumanEval)/")]
    prompt: Annotated[str, Field(min_length=1)]
    entry_point: Annotated[str, Field(pattern=r"^[^\W\d]\w*$")]
    canonical_solution: str
    base_input: Annotated[Inputs, Field(min_length=1)]
    plus_input: Inputs = []
    atol: Annotated[float, Field(ge=0)] = 0.0

    def as_item(self, *, extra_tests: bool) -> PythonItem:
        """Return the item. A test an input, base ones first; the model sees what the prompt shows, never the inputs."""
        inputs = {"base": self.base_input, "extra": self.plus_input if extra_tests else []}
        whole = self.prompt + self.canonical_solution
        problem = {
            "task": self.task_id.partition("/")[0],
            "entry_point": self.entry_point,
            "solution": whole,
            "inputs": inputs,
            "shape": SHAPES.get(self.task_id, "."),
            "atol": self.atol,
        }
        return PythonItem(
            id=self.task_id,
            prompt=self._question(),
            system_prompt=PAPER_PYTHON_PROMPT,
            gold=whole,
            tests=tuple(
                f"assert reference.{kind}({number}, {self.entry_point})"
                for kind, cases in inputs.items()
                for number in range(len(cases))
            ),
            reference=f"{program('evalplus')}\n\nbase, extra = prepare({json.dumps(problem)!r})\n",
        )

    def _question(self) -> str:
        """Put the problem in the words of the paper's authors (SakanaAI/fishfarm)."""
        if self.task_id.startswith("Mbpp/"):  # a docstring: the text, then an assertion
            text, word, assertion = self.prompt.strip().strip('"').partition("assert")
            return mbpp_prompt(text, word + assertion)
        return f"Write a solution to the following problem:\n```python\n{self.prompt.strip()}\n```"
