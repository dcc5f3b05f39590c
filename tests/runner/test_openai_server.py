"""The server as OpenAI's own client sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import openai
import pytest

from cycleqd.errors import BadData, Unscored
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.openai_api import MODEL, ChatRequest, Refused
from cycleqd_runner.openai_server import MOST_BYTES, Address, serving

BONJOUR = Answer("Bonjour", 11, 4, "stop")
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


class Recorder:
    """Answers everything with the same, and remembers the requests."""

    def __init__(self, answer: Answer | Exception = BONJOUR) -> None:
        self.said = answer
        self.asked: list[ChatRequest] = []

    async def answer(self, request: ChatRequest) -> Answer:
        self.asked.append(request)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def talk(recorder: Recorder, work: Callable[[openai.AsyncOpenAI, Address], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with (
            serving(recorder.answer) as address,
            openai.AsyncOpenAI(base_url=address.url, api_key=address.key, max_retries=0) as client,
        ):
            return await work(client, address)

    return asyncio.run(main())


def ask(recorder: Recorder, **fields: Any) -> Any:
    given: dict[str, Any] = {"model": MODEL, "messages": HELLO, **fields}
    return talk(recorder, lambda client, _: client.chat.completions.create(**given))


def test_an_answer_is_a_chat_completion() -> None:
    recorder = Recorder()
    told = ask(recorder)
    (choice,) = told.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Bonjour", "stop")
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (11, 4, 15)
    assert (told.object, told.model) == ("chat.completion", MODEL)
    assert recorder.asked[0].conversation == (Message("user", "Hello"),)
    assert recorder.asked[0].sampling(512, 7) == Sampling(512, 0.0, (), 7)


@pytest.mark.parametrize("finish", ["length", "broken"])
def test_an_answer_that_did_not_end_by_itself_was_cut(finish: Any) -> None:
    assert ask(Recorder(Answer("Bon", 11, 1, finish))).choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"max_tokens": 9, "temperature": 0.5, "seed": 3, "stop": "\n"}, Sampling(9, 0.5, ("\n",), 3)),
        ({"max_completion_tokens": 8, "stop": ["a", "b"]}, Sampling(8, 0.0, ("a", "b"), 7)),
        ({"seed": -1}, Sampling(512, 0.0, (), 2**63 - 1)),
        ({"n": 1, "top_p": 1, "stream": False, "tools": [], "store": True, "logprobs": False}, Sampling(512, seed=7)),
    ],
    ids=["all", "the newer name", "a negative seed", "what asks for nothing"],
)
def test_fields_mean_what_they_mean_to_openai(fields: Mapping[str, Any], sampling: Sampling) -> None:
    recorder = Recorder()
    ask(recorder, **fields)
    assert recorder.asked[0].sampling(512, 7) == sampling


def test_conversations_come_as_they_are() -> None:
    parts: list[Any] = [{"type": "text", "text": "2 + 2"}, {"type": "text", "text": "?"}]
    recorder = Recorder()
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "4", "tool_calls": None},
        *HELLO,
    ]
    ask(recorder, messages=messages, user="item-7")
    assert recorder.asked[0].user == "item-7"
    assert recorder.asked[0].conversation == (
        Message("system", "Be brief."),
        Message("user", "2 + 2?"),
        Message("assistant", "4"),
        Message("user", "Hello"),
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True}, "stream"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"top_p": 0.5}, "top_p"),
        ({"extra_body": {"best_of": 3}}, "best_of"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "4", "tool_call_id": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_it_cannot_do_is_refused_in_openais_form(fields: Mapping[str, Any], param: str) -> None:
    recorder = Recorder()
    with pytest.raises(openai.BadRequestError) as refused:
        ask(recorder, **fields)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert param in str(refused.value)
    assert not recorder.asked


def test_another_model_is_not_there() -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ask(Recorder(), model="gpt-4o")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadData("A prompt has 9000 tokens."), openai.BadRequestError),
        (Unscored("The engine is closed."), openai.InternalServerError),
        (Refused(429, "Too many."), openai.RateLimitError),
    ],
    ids=["the conversation's fault", "the engine's", "too many"],
)
def test_what_the_engine_refuses_is_told(error: Exception, expected: type[openai.APIStatusError]) -> None:
    with pytest.raises(expected, match=str(error)):
        ask(Recorder(error))


def test_the_models_are_one() -> None:
    async def work(client: openai.AsyncOpenAI, _: Address) -> None:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).object == "model"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("gpt-4o")
        with pytest.raises(openai.NotFoundError, match="Not Found"):
            await client.embeddings.create(model=MODEL, input="x")

    talk(Recorder(), work)


def test_nobody_is_answered_without_the_key() -> None:
    recorder = Recorder()

    async def work(client: openai.AsyncOpenAI, address: Address) -> None:
        for wrong in ("", "sk-wrong", f"{address.key}x"):
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.with_options(api_key=wrong or "none").chat.completions.create(model=MODEL, messages=HELLO)
            assert refused.value.code == "invalid_api_key"
        async with httpx.AsyncClient() as plain:
            assert (await plain.get(f"{address.url}/models")).status_code == 401

    talk(recorder, work)
    assert not recorder.asked


def test_keys_and_ports_differ_and_only_this_machine_is_listened_to() -> None:
    async def main() -> None:
        async with serving(Recorder().answer) as one, serving(Recorder().answer) as other:
            assert one.url.startswith("http://127.0.0.1:")
            assert one.url != other.url
            assert one.key != other.key

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b'"x"', 400), (b"\xff", 400), (b" " * (MOST_BYTES + 1), 413)],
    ids=["half", "a list", "a text", "no text", "too long"],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, status: int) -> None:
    async def work(_: openai.AsyncOpenAI, address: Address) -> None:
        headers = {"Authorization": f"Bearer {address.key}"}
        async with httpx.AsyncClient() as plain:
            told = await plain.post(f"{address.url}/chat/completions", content=body, headers=headers)
        assert told.status_code == status
        assert set(json.loads(told.content)["error"]) == {"message", "type", "param", "code"}

    talk(Recorder(), work)


def test_a_request_whose_client_goes_away_is_given_up() -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def answer(_: ChatRequest) -> Answer:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            given_up.set()
        raise AssertionError

    async def main() -> None:
        async with serving(answer) as address, openai.AsyncOpenAI(base_url=address.url, api_key=address.key) as client:
            asking = asyncio.ensure_future(client.chat.completions.create(model=MODEL, messages=HELLO))
            await begun.wait()
            asking.cancel()
            await asyncio.wait_for(given_up.wait(), 10)

    asyncio.run(main())


def test_requests_wait_together() -> None:
    """As many as the engine likes: the server keeps nobody back."""
    everybody = asyncio.Barrier(40)

    async def answer(_: ChatRequest) -> Answer:
        await everybody.wait()
        return Answer("", 1, 0, "stop")

    async def main() -> None:
        async with serving(answer) as address, openai.AsyncOpenAI(base_url=address.url, api_key=address.key) as client:
            asked = (client.chat.completions.create(model=MODEL, messages=HELLO) for _ in range(40))
            await asyncio.wait_for(asyncio.gather(*asked), 60)

    asyncio.run(main())
