"""Tasks of inspect-ai as users write them, beside the data and the module that they read."""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import Score, Scorer, Target, accuracy, choice, includes, match, scorer
from inspect_ai.solver import (
    Generate,
    Solver,
    TaskState,
    chain,
    fork,
    generate,
    multiple_choice,
    prompt_template,
    solver,
    system_message,
    use_tools,
)
from inspect_ai.tool import Tool, tool
from kindness import DOUBT  # type: ignore[import-not-found]  # lies beside this file

SUMS = [Sample(id=f"{a}+{b}", input=f"What is {a} + {b}?", target=str(a + b)) for a in (1, 2) for b in (3, 4)]


@task
def sums(hint: str = "", count: int = 4) -> Task:
    """One question, one answer, exact."""
    asked = chain(system_message(hint), generate()) if hint else generate()
    return Task(dataset=SUMS[:count], solver=asked, scorer=match(numeric=True))


@task
def capitals() -> Task:
    """Samples without ids, from a file."""
    return Task(dataset=json_dataset("capitals.jsonl"), scorer=includes())


@task
def options() -> Task:
    """Multiple choice."""
    samples = [
        Sample(id=name, input=f"Which is {name}?", choices=["a stone", "a bird", "a tree"], target=letter)
        for name, letter in (("granite", "A"), ("a wren", "B"), ("an oak", "C"))
    ]
    return Task(dataset=samples, solver=multiple_choice(), scorer=choice())


@solver
def doubting(turns: int) -> Solver:
    """Ask again and again whether the model is sure."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await generate(state)
        for _ in range(turns - 1):
            state.messages.append(ChatMessageUser(content=DOUBT))
            state = await generate(state)
        return state

    return solve


@task
def dialogue(turns: int = 3, message_limit: int | None = None) -> Task:
    """Several turns, with a conversation as the samples' input."""
    samples = [
        Sample(
            id=sample.id,
            input=[ChatMessageSystem(content="Be brief."), ChatMessageUser(content=str(sample.input))],
            target=sample.target,
        )
        for sample in SUMS
    ]
    return Task(dataset=samples, solver=doubting(turns), scorer=match(numeric=True), message_limit=message_limit)


@solver
def vote() -> Solver:
    """Ask twice at once; the first answer counts."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        states = await fork(state, [generate_once(), generate_once()])
        state.store.set("votes", len(states))
        return states[0]

    return solve


@solver
def generate_once() -> Solver:
    """Ask, drawing."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, temperature=0.7, max_tokens=9, stop_seqs=["\n"])

    return solve


@task
def votes() -> Task:
    """Parallel draws in one sample."""
    return Task(
        dataset=SUMS, solver=[prompt_template("Count: {prompt}"), vote()], scorer=match(), config=GenerateConfig(seed=5)
    )


@scorer(metrics=[accuracy()])
def closeness() -> Scorer:
    """Partial credit by distance."""

    async def score(state: TaskState, target: Target) -> Score:
        try:
            off = abs(int(state.output.completion) - int(target.text))
        except ValueError:
            return Score(value="N", explanation="no number")
        return Score(value="P" if off == 1 else max(0.0, 1 - off / 4), answer=state.output.completion)

    return score


@task
def close() -> Task:
    """A scorer of one's own, with words and numbers."""
    return Task(dataset=SUMS, scorer=[closeness(), match()])


@scorer(metrics=[accuracy()])
def by_model() -> Scorer:
    """Have the model judge itself."""

    async def score(state: TaskState, target: Target) -> Score:
        said = await get_model(role="grader").generate(
            f"Judge: {state.output.completion} for {target.text}?", cache=True
        )
        return Score(value=said.completion == "yes")

    return score


@task
def self_judged() -> Task:
    """The grader is the model that is evaluated, for want of another."""
    return Task(dataset=SUMS, scorer=by_model())


@scorer(metrics=[accuracy()])
def says(value: object, reason: str | None = None) -> Scorer:
    """Say always the same."""

    async def score(state: TaskState, target: Target) -> Score | None:
        return None if value is None else Score(value=float("nan") if value == "nan" else value, reason=reason)

    return score


@task
def always(value: object) -> Task:
    """A scorer with whatever value."""
    return Task(dataset=SUMS[:1], scorer=says(value, "grader_failed"))


@solver
def failing(swallow: bool) -> Solver:
    """Fail after the first answer, or make light of everything that fails."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        try:
            state = await generate(state)
        except Exception:
            if not swallow:
                raise
        if not swallow:
            raise ValueError("the riddle\nhas no end")
        return state

    return solve


@task
def fails(swallow: bool = False) -> Task:
    """A solver that raises."""
    return Task(dataset=SUMS[:2], solver=failing(swallow), scorer=match())


@scorer(metrics=[accuracy()])
def raising() -> Scorer:
    """Raise."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=1 / len(state.output.completion.replace("4", "")))

    return score


@task
def scorer_fails() -> Task:
    """A scorer that raises for some answers."""
    return Task(dataset=SUMS[:2], scorer=raising())


@tool
def lookup() -> Tool:
    """Give the model a tool."""

    async def execute(word: str) -> str:
        """Look a word up.

        Args:
            word: to look up.
        """
        return word

    return execute


@solver
def late_tools() -> Solver:
    """Offer tools where nobody can see it before."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.tools = [lookup()]
        return await generate(state)

    return solve


@task
def tools(late: bool = False) -> Task:
    """Needs tools."""
    return Task(dataset=SUMS[:2], solver=late_tools() if late else [use_tools(lookup()), generate()], scorer=match())


@task
def needing(what: str) -> Task:
    """Needs what is not there."""
    needs: dict[str, object] = {
        "sandbox": {"sandbox": "docker"},
        "sample sandbox": {"dataset": [Sample(input="x", target="y", sandbox="docker")]},
        "model": {"model": "mockllm/model"},
        "working_limit": {"working_limit": 3},
        "no scorer": {"scorer": None},
        "no samples": {"dataset": []},
        "twice": {"dataset": [SUMS[0], SUMS[0]]},
        "logprobs": {"config": GenerateConfig(logprobs=True)},
        "top_p": {"config": GenerateConfig(temperature=1.0, top_p=0.9)},
        "raising": {"dataset": 1 // (len(what) - 7)} if what == "raising" else {},
    }
    settings: dict[str, object] = {"dataset": SUMS, "scorer": match(), **needs[what]}  # type: ignore[dict-item]
    return Task(**settings)  # type: ignore[arg-type]
