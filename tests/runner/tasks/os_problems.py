"""Agents that play scripted episodes, and a scripts folder of our own for AgentBench's development split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from cycleqd.api.tasks import AgentBenchOsEvaluator
from cycleqd.errors import MissingInput
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.tasks.agentbench_os import AgentBenchOs
from cycleqd_runner.tasks.agentbench_os.items import OsItem
from cycleqd_runner.tasks.contract import Item
from cycleqd_runner.tasks.registry import make_evaluator

_OUTPUT = "The output of the OS:\n\n"

CALC = """#!/usr/bin/python3
import ast, operator, sys

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
OPERATIONS[ast.USub] = operator.neg

def value(node):
    if isinstance(node, ast.BinOp):
        return OPERATIONS[type(node.op)](value(node.left), value(node.right))
    if isinstance(node, ast.UnaryOp):
        return OPERATIONS[type(node.op)](value(node.operand))
    return node.value

print(value(ast.parse(" ".join(sys.argv[1:]), mode="eval").body))
"""

SCRIPTS: Mapping[str, bytes] = {
    "check/0.sh": b"""for expression in '2 * (9 / 3)' '1 + 2 * 3' '(4 - 6) / 8' '7'; do
    got=$(calc "$expression") || exit 1
    wanted=$(awk "BEGIN { print $expression }")
    awk -v got="$got" -v wanted="$wanted" 'BEGIN { d = got - wanted; exit !(got != "" && d * d < 1e-10) }' || exit 1
done
""",
    "example/0.sh": f"cat >/usr/local/bin/calc <<'EOF'\n{CALC}EOF\nchmod +x /usr/local/bin/calc\n".encode(),
    "check/integer-match.py": b"from sys import argv\nexit(int(argv[1]) != int(argv[2]))\n",
    "check/string-match.py": b"from sys import argv\nexit(argv[1].strip() != argv[2].strip())\n",
    "check/size-match.py": b"""import re
from sys import argv

def size(text):
    number, unit = re.fullmatch(r"([0-9.]+)\\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE).groups()
    return float(number) * 1024 ** "KMGT".find(unit.upper() or "?") if unit else float(number) / 1024

exit(abs(size(argv[1]) - size(argv[2])) > 1e-5)
""",
    "init/stock-log.sh": b"""for index in 1 2 3 4 5 6 7; do
    echo "Alice | Buy | $index | 10"
    echo "Bob | Sell | $index | 20"
done >/usr/stock.log
""",
}
"""The files that the development split names, by what their names and its descriptions promise."""


def think(action: str) -> str:
    return f"Think: so be it.\n\nAct: {action}"


def type_(code: str) -> str:
    return think(f"bash\n\n```bash\n{code}\n```")


class Agent:
    """Says one thing after the other; a function is given the last output. Remembers what it was asked."""

    def __init__(self, *says: str | Callable[[str], str]) -> None:
        self._says = list(says)
        self.asked: list[tuple[Message, ...]] = []

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.asked.append(tuple(messages))
        say = self._says[min(len(self.asked), len(self._says)) - 1]
        text = say if isinstance(say, str) else say(messages[-1].content.removeprefix(_OUTPUT))
        return Answer(text, prompt_tokens=7, answer_tokens=3, finish="stop")

    @property
    def outputs(self) -> list[str]:
        """What it was shown, in order."""
        return [messages[-1].content.removeprefix(_OUTPUT) for messages in self.asked[1:]]


def gold(item: Item) -> Agent:
    """Return the agent that plays the solution: the answer that ``match`` names, or what the example script prints."""
    problem = OsItem.model_validate(item.payload)
    if problem.match is not None:
        return Agent(think(f"answer({problem.match.answer})"))
    assert problem.example is not None
    assert problem.example.language == "bash"
    return Agent(type_(problem.example.code), lambda output: think(f"answer({output.strip()})"))


MATCH = {"description": "Say yes.", "evaluation": {"match": "yes"}}


def built(
    *items: object, scripts: str | None = None, max_turns: int = 5, system_prompt: str | None = None
) -> AgentBenchOs:
    """Make the evaluator of some items as the registry makes it; scripts lie in ``there/``."""
    files = {"os.json": json.dumps(items).encode(), **{f"there/{name}": code for name, code in SCRIPTS.items()}}

    def fetch(uri: str) -> bytes:
        if uri not in files:
            raise MissingInput(f"there is no {uri}")
        return files[uri]

    spec = AgentBenchOsEvaluator(
        type="AgentBenchOS", data="os.json", scripts=scripts, max_turns=max_turns, system_prompt=system_prompt
    )
    evaluator = make_evaluator(spec, fetch)
    assert isinstance(evaluator, AgentBenchOs)
    return evaluator
