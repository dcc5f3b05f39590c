"""The engine as a model of inspect-ai, in process: conversations and settings there, and in what words we have them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inspect_ai._util.notgiven import NotGiven
from inspect_ai.model import (
    CachePolicy,
    ChatMessage,
    ContentText,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)
from inspect_ai.model._stream import StreamHandler
from inspect_ai.tool import Tool, ToolChoice, ToolDef, ToolInfo, ToolSource

from cycleqd.rng import generator
from cycleqd_runner.chat import Answer, ChatModel, Finish, Message, Sampling
from cycleqd_runner.tasks.prompts import LONG_ANSWER

AT_ONCE = 1_000_000
"""Connections that inspect lets a model have: none wait, because the engine makes the batches."""

NEUTRAL: dict[str, object] = {
    "best_of": 1,
    "num_choices": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "prompt_logprobs": 0,
    "response_schema": None,
}
"""Settings that change answers and that :class:`~cycleqd_runner.chat.Sampling` lacks, and what asks for nothing."""

OF_DRAWS: dict[str, object] = {"top_p": 1, "top_k": None}
"""Likewise, where the temperature is above 0."""

STOP_REASONS: dict[Finish, StopReason] = {"stop": "stop", "length": "max_tokens", "broken": "unknown"}


class NotAskable(Exception):
    """The engine cannot be asked what a task asks; the message goes on after the task's name."""


class Broken(Exception):
    """The engine's numbers broke."""


@dataclass
class Talk:
    """What is said to a model, and by it, while one sample is solved and scored.

    Attributes:
        model: the individual.
        draws: whose draws they are: item and repeat.
        max_tokens: longest answer, in tokens, whatever the task says; None: as the task says.
        system_prompt: replaces system messages; an empty string leaves them out; None: as the task has them.
        solving: whether it is the solvers who ask; scorers may ask the individual, too.
        messages, answer: the solvers' last question and its answer.
        failure: the first failure; with it the sample has no score, whatever its solver makes of it.
    """

    model: ChatModel
    draws: str
    max_tokens: int | None = None
    system_prompt: str | None = None
    solving: bool = True
    messages: tuple[Message, ...] = ()
    answer: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    failure: Exception | None = None
    _turns: int = field(default=0, repr=False)

    async def ask(self, heard: Sequence[ChatMessage], tools: Sequence[ToolInfo], config: GenerateConfig) -> Answer:
        """Ask the individual. Raises NotAskable, and what its ``chat`` raises; from then on, the same again."""
        if self.failure:
            raise self.failure
        try:
            return await self._ask(heard, tools, config)
        except Exception as error:
            self.failure = error
            raise

    async def _ask(self, heard: Sequence[ChatMessage], tools: Sequence[ToolInfo], config: GenerateConfig) -> Answer:
        if tools:
            raise NotAskable(f"offers the model the tool {tools[0].name}, and the engines call none")
        messages = conversation(heard, self.system_prompt)
        sampling = sampling_of(config, self.max_tokens, f"{self.draws} turn {self._turns}")
        self._turns += 1
        answer = await self.model.chat(messages, sampling)
        if self.solving:
            self.messages, self.answer = messages, answer.text
        self.prompt_tokens += answer.prompt_tokens
        self.answer_tokens += answer.answer_tokens
        if answer.finish == "broken":
            raise Broken
        return answer


def conversation(heard: Sequence[ChatMessage], system_prompt: str | None) -> tuple[Message, ...]:
    """Return a conversation in our words. Raises NotAskable: it holds something else than text."""
    messages = []
    for message in heard:
        if message.role == "tool":
            raise NotAskable("has a tool's result in the conversation, and the engines call no tools")
        parts = [] if isinstance(message.content, str) else message.content
        other = next((part.type for part in parts if not isinstance(part, ContentText)), None)
        if other:
            raise NotAskable(f"has content of type {other} in the conversation, and the engines read text")
        messages.append(Message(message.role, message.text))
    if system_prompt is None:
        return tuple(messages)
    own = (Message("system", system_prompt),) if system_prompt else ()
    return (*own, *(message for message in messages if message.role != "system"))


def sampling_of(config: GenerateConfig, max_tokens: int | None, draws: str) -> Sampling:
    """Return how an answer is drawn.

    Args:
        config: of the call, the task and the model, merged by inspect.
        max_tokens: longest answer, in tokens, whatever ``config`` says.
        draws: tells this draw from all others; the seed is made of it and of the seed of ``config``.

    Raises:
        NotAskable: ``config`` asks for something that the engines cannot do.
    """
    temperature = config.temperature or 0.0
    neutral = NEUTRAL | OF_DRAWS if temperature > 0 else NEUTRAL
    asked = [name for name in neutral if getattr(config, name) not in (None, neutral[name])]
    if asked:
        raise NotAskable(f"sets {asked[0]}, which the engines do not have")
    return Sampling(
        max_tokens=max_tokens or config.max_tokens or LONG_ANSWER,
        temperature=temperature,
        stop=tuple(config.stop_seqs or ()),
        seed=int(generator(config.seed or 0, -1, draws).integers(2**31)) if temperature > 0 else 0,
    )


class _Engine(ModelAPI):
    """Answers with the individual of one talk. Consecutive messages of one role become one: templates refuse them."""

    def __init__(self, model_name: str, talk: Talk, **others: Any) -> None:  # noqa: ANN401 - inspect's own
        super().__init__(model_name, **others)
        self._talk = talk

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        answer = await self._talk.ask(input, tools, config)
        output = ModelOutput.from_content(self.model_name, answer.text, STOP_REASONS[answer.finish])
        output.usage = ModelUsage(
            input_tokens=answer.prompt_tokens,
            output_tokens=answer.answer_tokens,
            total_tokens=answer.prompt_tokens + answer.answer_tokens,
        )
        return output

    def collapse_user_messages(self) -> bool:
        return True

    def collapse_assistant_messages(self) -> bool:
        return True

    def collapse_system_messages(self) -> bool:
        return True


_provider = modelapi("cycleqd")(_Engine)


class _Individual(Model):
    """Keeps inspect from answering out of its cache, which takes one individual for another, and from queueing."""

    async def generate(
        self,
        input: str | list[ChatMessage],  # noqa: A002 - inspect's name
        tools: Sequence[Tool | ToolDef | ToolInfo | ToolSource] | ToolSource = (),
        tool_choice: ToolChoice | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - inspect's default
        cache: bool | CachePolicy | NotGiven = False,  # noqa: ARG002
        on_stream: StreamHandler | None = None,
    ) -> ModelOutput:
        config = config.merge(GenerateConfig(max_connections=AT_ONCE))
        return await super().generate(input, tools, tool_choice, config, cache=False, on_stream=on_stream)


def model_of(talk: Talk) -> Model:
    """Return the model of a talk; inspect's hook for the interpreter's uncaught errors is not left behind."""
    hook = sys.excepthook
    try:
        provider = _provider(model_name="individual", talk=talk)  # type: ignore[call-arg]
        return _Individual(provider, GenerateConfig())
    finally:
        sys.excepthook = hook
