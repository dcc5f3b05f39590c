"""What is said in an episode: the instruction, the actions of an answer, the outputs shown.

Wording and rules are those of AgentBench's ``dbbench`` task (THUDM/AgentBench, Apache-2.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cycleqd_runner.chat import Message
from cycleqd_runner.tasks.agentbench_db.databases import SHOWN

INSTRUCTION = """\
I will ask you a question, then you should help me operate a {server} database with SQL to answer the question.
You have to explain the problem and your solution to me and write down your thoughts.
After thinking and explaining thoroughly, every round you can choose to operate or to answer.
your operation should be like this:
Action: Operation
```sql
SELECT * FROM table WHERE condition;
```
You MUST put SQL in markdown format without any other comments. Your SQL should be in one line.
Every time you can only execute one SQL statement. I will only execute the statement in the first SQL code block. \
Every time you write a SQL, I will execute it for you and give you the output.
If you are done operating, and you want to commit your final answer, then write down:
Action: Answer
Final Answer: ["ANSWER1", "ANSWER2", ...]
DO NOT write this pattern unless you are sure about your answer. I expect an accurate and correct answer.
Your answer should be accurate. Your answer must be exactly the same as the correct answer.
If the question is about modifying the database, then after done operation, your answer field can be anything.
If your response cannot match any pattern I mentioned earlier, you will be judged as FAIL immediately.
Your input will be raw {server} response, you have to deal with it by yourself.
"""
CUT = "[TRUNCATED]"

_ACTION = re.compile(r"Action:[ \t]*(\w+)")
_STATEMENT = re.compile(r"```sql[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_ANSWER = re.compile(r"^Final Answer:(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Action:
    """What an answer wants done.

    Attributes:
        kind: ``operation`` runs ``content``, one statement in one line; ``answer`` ends the episode with it.
    """

    kind: Literal["operation", "answer"]
    content: str


def opening(question: str, server: str, system_prompt: str | None) -> tuple[Message, ...]:
    """Return the first messages. ``system_prompt`` replaces the instruction and is sent as the system's."""
    if system_prompt is None:
        first = (Message("user", INSTRUCTION.format(server=server)), Message("assistant", "Ok."))
        return (*first, Message("user", question))
    system = (Message("system", system_prompt),) if system_prompt else ()
    return (*system, Message("user", question))


def action_in(text: str) -> Action | None:
    """Return the first action of an answer, None where there is none of the two."""
    text = text.encode("utf-8", "replace").decode()  # no halves of surrogate pairs: no server takes them
    action = _ACTION.search(text)
    if action is not None and action.group(1) == "Operation":
        statement = _STATEMENT.search(text)
        return Action("operation", statement.group(1).strip().replace("\n", " ")) if statement else None
    answer = _ANSWER.search(text)
    return Action("answer", answer.group(1).strip()) if answer and answer.group(1).strip() else None


def shown(output: str) -> Message:
    """Return an output as the model sees it."""
    return Message("user", output if len(output) <= SHOWN else output[:SHOWN] + CUT)
