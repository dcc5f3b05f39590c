"""MBPP's JSON Lines format, and how its problems are put to a model. Running answers is not done here."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from cycleqd_runner.tasks.items import PythonItem


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
        shown = "\n".join(self.test_list)
        extra = (*self.challenge_test_list, *self.plus_test_list) if extra_tests else ()
        return PythonItem(
            id=f"mbpp-{self.task_id}",
            prompt=f"{self.text}\nThe code must pass these tests:\n{shown}",
            gold=self.code.replace("\r\n", "\n") if self.code else None,
            tests=(*self.test_list, *extra),
            setup="\n".join(part for part in (*self.test_imports, self.test_setup_code) if part),
        )


def parse_python_line(value: dict[str, object], *, extra_tests: bool) -> PythonItem:
    """Return the item of one line: MBPP's where it has a ``test_list``, else this product's own format."""
    if "test_list" in value:
        return MbppLine.model_validate(value).as_item(extra_tests=extra_tests)
    return PythonItem.model_validate(value)
