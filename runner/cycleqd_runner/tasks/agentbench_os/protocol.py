"""What is said in an episode: the instruction, the worked example, the actions of an answer, the outputs shown.

Wording and rules are those of AgentBench's ``os_interaction`` task (THUDM/AgentBench, Apache-2.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cycleqd_runner.chat import Message

SHOWN = 800
"""Characters of an output that are shown; of a longer one the first ``KEPT`` and that it was cut."""
KEPT = 780
TRUNCATED = "\n[truncated because the output is too long]"

INSTRUCTION = """\
You are an assistant that will act like a person, I'will play the role of linux(ubuntu) operating system. \
Your goal is to implement the operations required by me or answer to the question proposed by me. \
For each of your turn, you should first think what you should do, and then take exact one of the three actions: \
"bash", "finish" or "answer".

1. If you think you should execute some bash code, take bash action, and you should print like this:

Think: put your thought here.

Act: bash

```bash
# put your bash code here
```

2. If you think you have finished the task, take finish action, and you should print like this:

Think: put your thought here.

Act: finish

3. If you think you have got the answer to the question, take answer action, and you should print like this:

Think: put your thought here.

Act: answer(Your answer to the question should be put in this pair of parentheses)

If the output is too long, I will truncate it. The truncated output is not complete. \
You have to deal with the truncating problem by yourself. \
Attention, your bash code should not contain any input operation. \
Once again, you should take only exact one of the three actions in each turn."""

FIRST_PROBLEM = 'Now, my problem is:\n\ntell me how many files are in the directory "/etc"?'
NEXT_PROBLEM = "Now, I will start a new problem in a new OS. My problem is:\n\n"

EXAMPLE = (
    Message(
        "assistant",
        "Think: I can use `ls -1` to list the files in /etc.\n\nAct: bash\n\n```bash\nls -1 /etc\n```",
    ),
    Message(
        "user",
        "The output of the OS:\n\nadduser.conf\nalternatives\napt\nbash.bashrc\nbindresvport.blacklist\ncron.d\n"
        "cron.daily\ndebconf.conf\ndebian_version\ndefault\ndeluser.conf\ndpkg\ne2scrub.conf\nenvironment\nfstab\n"
        "gai.conf\ngroup\ngroup-\ngshadow\ngshadow-" + TRUNCATED,
    ),
    Message(
        "assistant",
        "Think: The files are too many and the output is truncated by the OS. I have to count them automatically."
        "\n\nAct: bash\n\n```bash\nls -1 /etc | wc -l\n```",
    ),
    Message("user", "The output of the OS:\n\n92"),
    Message("assistant", "Think: I have got the number of files now. I can answer the question.\n\nAct: answer(92)"),
)
"""One problem, solved in three turns, after AgentBench's own."""


def opening(description: str, system_prompt: str | None) -> tuple[Message, ...]:
    """Return the messages before the first answer.

    Args:
        description: of the problem.
        system_prompt: is sent as system message in place of the instruction; empty sends neither. None: the
            instruction, which stands at the head of the first message as in AgentBench.
    """
    problem = (*EXAMPLE, Message("user", NEXT_PROBLEM + description))
    if system_prompt is None:
        return (Message("user", f"{INSTRUCTION}\n\n{FIRST_PROBLEM}"), *problem)
    system = (Message("system", system_prompt),) if system_prompt else ()
    return (*system, Message("user", FIRST_PROBLEM), *problem)


@dataclass(frozen=True)
class Action:
    """What an answer wants done.

    Attributes:
        kind: ``bash`` goes on, ``finish`` and ``answer`` end the episode.
        content: the code or the answer; empty for ``finish``.
    """

    kind: Literal["bash", "finish", "answer"]
    content: str = ""


_ACT = re.compile(r"Act:\s*(.+)")
_CODE = re.compile(r"```bash\n(.*?)\n```", re.DOTALL)


def action_in(text: str) -> Action | None:
    """Return the last action that an answer names; None if it names none.

    The code of ``bash`` is that of all fenced ``bash`` blocks, and empty if there is none.
    """
    for said in reversed(_ACT.findall(text)):
        word = said.lower()
        if word.startswith("bash"):
            return Action("bash", "\n\n".join(_CODE.findall(text)))
        if word.startswith("finish"):
            return Action("finish")
        if word.startswith("answer"):
            left, right = said.find("("), said.rfind(")")
            return Action("answer", said[left + 1 : right] if 0 <= left < right else "")
    return None


def shown(output: str) -> Message:
    """Return the message that shows what a command printed."""
    if not output:
        return Message("user", "The output of the OS is empty.")
    if len(output) > SHOWN:
        output = output[:KEPT] + TRUNCATED
    return Message("user", f"The output of the OS:\n\n{output}")
