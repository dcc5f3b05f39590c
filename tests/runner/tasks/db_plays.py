"""Models that play episodes of AgentBenchDB by a script."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.tasks.agentbench_db.items import DbItem
from cycleqd_runner.tasks.contract import Item


class Plays:
    """Says one answer after another, then ends the episode; remembers the last messages."""

    def __init__(self, *answers: str) -> None:
        self._answers = [*answers]
        self.heard: Sequence[Message] = ()

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.heard = messages
        return Answer(self._answers.pop(0) if self._answers else answer(), 5, 2, "stop")


def operation(statement: str) -> str:
    return f"I look first.\nAction: Operation\n```sql\n{statement}\n```\nThen I wait."


def answer(*values: str) -> str:
    return f"Action: Answer\nFinal Answer: {json.dumps([*values])}"


def gold(item: Item) -> Plays:
    """Return who plays an item right."""
    question = DbItem.model_validate(item.payload)
    if question.category == "SELECT":
        looked = question.table_name.replace("`", "``")
        return Plays(operation(f"SELECT * FROM `{looked}`"), answer(*question.label))
    return Plays(*map(operation, question.label), answer("done"))
