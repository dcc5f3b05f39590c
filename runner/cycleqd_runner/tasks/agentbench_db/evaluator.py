"""The AgentBenchDB evaluator: plays each item on a database of its own, and judges how the episode ended."""

from __future__ import annotations

from collections.abc import Sequence

from cycleqd.api.tasks import AgentBenchDbEvaluator
from cycleqd.errors import BadData
from cycleqd.records import BROKEN
from cycleqd_runner.chat import ChatModel, Message, Sampling
from cycleqd_runner.tasks.agentbench_db.databases import MOST_NEW_ROWS, Content, Database, Server
from cycleqd_runner.tasks.agentbench_db.embedded import Embedded
from cycleqd_runner.tasks.agentbench_db.items import DbItem, parse_line
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.protocol import action_in, opening, shown
from cycleqd_runner.tasks.agentbench_db.values import is_right
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.executable import Judgement, one_line
from cycleqd_runner.tasks.items import items_of, read_lines
from cycleqd_runner.tasks.prompts import LONG_ANSWER, sampling_of


def agentbench_db_evaluator(spec: AgentBenchDbEvaluator, data: bytes | None) -> AgentBenchDb:
    """Build the evaluator; nothing is started yet.

    Raises:
        BadData: the items file is broken.
    """
    return AgentBenchDb(spec, read_lines(data or b"", spec.data, parse_line), _SERVERS[spec.server]())


_SERVERS = {"MySQL": MySql, "SQLite": Embedded}


class AgentBenchDb:
    """Plays AgentBench's database items.

    Args:
        spec: turns, answers and system prompt.
        questions: the items, in a fixed order.
        server: where their databases are made.
    """

    def __init__(self, spec: AgentBenchDbEvaluator, questions: Sequence[DbItem], server: Server) -> None:
        self._items = items_of(questions)
        self._spec = spec
        self._server = server
        self._sampling = sampling_of(spec, LONG_ANSWER)
        self._after_gold: dict[str, Content] = {}

    def items(self) -> Sequence[Item]:
        """Return all items in the file's order."""
        return self._items

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        """Play and judge one item.

        The first answer depends on nothing in the database, so it is asked for first: all first questions reach the
        engine in item order, and a database is only made for who has something to do there.

        Raises:
            TemporaryError: engine or server failed; the item was not judged.
            BadData: the item's own statement does not run, and it has no hash of what the table should hold.
        """
        question = DbItem.model_validate(item.payload)
        episode = _Episode(model, self._sampling, opening(question.prompt, self._spec.server, self._spec.system_prompt))
        await episode.ask()
        if question.category == "SELECT" and not episode.wants_operation:
            return episode.verdict(_judged_by_values(episode, question))
        if not episode.wants_operation and episode.final is None:
            return episode.verdict((0.0, episode.no_answer))
        async with self._server.database(question.table, setting) as database:
            await episode.play(database, self._spec.max_turns)
            if question.category == "SELECT" or episode.final is None:
                return episode.verdict(_judged_by_values(episode, question))
            right = await self._is_changed_right(database, question, setting)
        return episode.verdict((1.0, None) if right else (0.0, "the table does not hold what it should"))

    async def _is_changed_right(self, database: Database, question: DbItem, setting: Setting) -> bool:
        """Return whether the table holds what it should: by AgentBench's hash if the item has it, else row by row."""
        if question.answer_md5 is not None:
            return await database.answer_md5() == question.answer_md5
        wanted = await self._content_after_gold(question, setting)
        return await database.content(wanted.total() + 1) == wanted

    async def _content_after_gold(self, question: DbItem, setting: Setting) -> Content:
        if question.id not in self._after_gold:
            async with self._server.database(question.table, setting) as database:
                for statement in question.label:
                    output = await database.execute(statement)
                    if output.failed:
                        raise BadData(
                            f"AgentBenchDB item {question.id}: its own statement fails ({one_line(output.text)}): "
                            "correct it, or take the item out of the file."
                        )
                content = await database.content(len(question.rows) + MOST_NEW_ROWS)
            if content is None:
                raise BadData(f"AgentBenchDB item {question.id}: its own statement removes the table: correct it.")
            self._after_gold[question.id] = content
        return self._after_gold[question.id]


class _Episode:
    """One item's conversation, and what it came to."""

    def __init__(self, model: ChatModel, sampling: Sampling, messages: tuple[Message, ...]) -> None:
        self._model, self._sampling, self._messages = model, sampling, messages
        self._operations = 0
        self._prompt_tokens = self._answer_tokens = 0
        self._text = ""
        self._is_broken = False

    async def ask(self) -> None:
        """Put the conversation as it stands to the model."""
        answer = await self._model.chat(self._messages, self._sampling)
        self._prompt_tokens += answer.prompt_tokens
        self._answer_tokens += answer.answer_tokens
        self._text, self._is_broken = answer.text, answer.finish == "broken"
        self._action = None if self._is_broken else action_in(answer.text)

    @property
    def wants_operation(self) -> bool:
        """Whether the last answer is an operation."""
        return self._action is not None and self._action.kind == "operation"

    @property
    def final(self) -> str | None:
        """The final answer, None as long as there is none."""
        return self._action.content if self._action is not None and self._action.kind == "answer" else None

    @property
    def no_answer(self) -> str:
        """Why there is no final answer."""
        if self.wants_operation:
            return f"no final answer after {self._operations} operations"
        return "neither an operation with a sql block nor a final answer"

    async def play(self, database: Database, most: int) -> None:
        """Run operations and show what came of them, until an answer is no operation or ``most`` were run."""
        while self._action is not None and self._action.kind == "operation" and self._operations < most:
            output = await database.execute(self._action.content)
            self._operations += 1
            self._messages = (*self._messages, Message("assistant", self._text), shown(output.text))
            await self.ask()

    def verdict(self, judgement: Judgement) -> Verdict:
        """Return the verdict of an episode that ends with the last answer."""
        score: float | None
        score, reason = (None, BROKEN) if self._is_broken else judgement
        return Verdict(score, reason, self._messages, self._text, self._prompt_tokens, self._answer_tokens)


def _judged_by_values(episode: _Episode, question: DbItem) -> Judgement:
    if episode.final is None:
        return 0.0, episode.no_answer
    if is_right(episode.final, question.label):
        return 1.0, None
    return 0.0, one_line(f"expected {list(question.label)}, got {episode.final}")
