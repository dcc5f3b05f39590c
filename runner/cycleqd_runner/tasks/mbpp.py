"""MBPP's JSON Lines format, and how its problems are put to a model. Running answers is not done here."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from cycleqd_runner.tasks.items import PythonItem
from cycleqd_runner.tasks.prompts import PAPER_PYTHON_PROMPT


class MbppLine(BaseModel):
    """A problem of the full set (``text``, ``test_setup_code``) or the sanitized (``prompt``, ``test_imports``)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: int | str
    text: Annotated[str, Field(min_length=1, validation_alias=AliasChoices("text", "prompt"))]
    code: str | None = None
    test_list: Annotated[tuple[str, ...], Field(min_length=1)]
    challenge_test_list: tuple[str, ...] = ()
    plus_test_list: tuple[str, ...] = ()
    test_setup_code: str = ""
    test_imports: tuple[str, ...] = ()

    def as_item(self, *, extra_tests: bool) -> PythonItem:
        """Return the item; the model sees the three tests of ``test_list`` and never the extra ones."""
        extra = (*self.challenge_test_list, *self.plus_test_list) if extra_tests else ()
        return PythonItem(
            id=f"mbpp-{self.task_id}",
            prompt=mbpp_prompt(self.text, "\n".join(self.test_list)),
            system_prompt=PAPER_PYTHON_PROMPT,
            gold=self.code.replace("\r\n", "\n") if self.code else None,
            tests=(*self.test_list, *extra),
            setup="\n".join(part for part in (*self.test_imports, self.test_setup_code) if part),
        )


def mbpp_prompt(text: str, tests: str) -> str:
    """Return a problem in the words in which the paper's authors put those of MBPP+ (SakanaAI/fishfarm)."""
    text = text.strip().removesuffix(".")
    return f"{text}. Your code should satisfy the following assertion:\n```python\n{tests.strip()}\n```"
