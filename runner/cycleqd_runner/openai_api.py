"""OpenAI's chat completions as JSON: what a request asks for, and how answers and refusals look. No server is here."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cycleqd_runner.chat import Answer, Message, Sampling

MODEL = "cycleqd"
"""The name under which the model is asked."""

Json = Mapping[str, object]

_WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "stream": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "top_p": (1,),
}
"""Fields that are not supported, with the values at which they ask for nothing."""

_PASSED_OVER = ("metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "stream_options")
"""Fields that change no answer."""


class Refused(Exception):
    """A request that gets no answer, in OpenAI's terms.

    Attributes:
        status: of HTTP.
        body: what the client is told.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 - HTTP
        self.status = status
        self.body: Json = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class _Text(BaseModel):
    type: Literal["text"]
    text: str


class _Turn(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text]

    @property
    def message(self) -> Message:
        said = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, said)


class ChatRequest(BaseModel):
    """A request that can be answered; fields mean what they mean to OpenAI."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    messages: Annotated[tuple[_Turn, ...], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    user: str | None = None

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages, those of developers as the system's."""
        return tuple(turn.message for turn in self.messages)

    def sampling(self, longest: int, seed: int) -> Sampling:
        """Return how the answer is drawn: greedily unless the request has a temperature.

        Args:
            longest: tokens of an answer for which the request sets no limit.
            seed: for a request without one.
        """
        return Sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens or longest,
            temperature=self.temperature or 0.0,
            stop=(self.stop,) if isinstance(self.stop, str) else self.stop or (),
            seed=seed if self.seed is None else self.seed % 2**63,
        )


def read_request(body: bytes) -> ChatRequest:
    """Return the request that ``body`` holds. Raises :class:`Refused`."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"The body is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise Refused(400, f"Expected a JSON object, got {type(value).__name__}.")
    for name, given in value.items():
        if name in ChatRequest.model_fields or name in _PASSED_OVER or given is None:
            continue
        if given not in _WITHOUT_EFFECT.get(name, ()):
            sentence = f"This server does not support {name}={json.dumps(given)[:100]}: leave {name} out."
            raise Refused(400, sentence, code="unsupported_parameter", param=name)
    try:
        request = ChatRequest.model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise Refused(400, f"{where}: {detail['msg']}.", code="invalid_value", param=str(detail["loc"][0])) from error
    require_model(request.model)
    return request


def require_model(name: str) -> None:
    """Raise :class:`Refused` if the model is not called so."""
    if name != MODEL:
        sentence = f"The model {name!r} does not exist: ask for {MODEL!r}."
        raise Refused(404, sentence, code="model_not_found", param="model")


def completion(answer: Answer) -> Json:
    """Return the body of an answered request.

    An answer whose numbers broke looks as if it had been cut; whoever scores knows better than the client.
    """
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    finish = "stop" if answer.finish == "stop" else "length"
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.answer_tokens,
            "total_tokens": answer.prompt_tokens + answer.answer_tokens,
        },
    }


def model() -> Json:
    """Return the description of the only model."""
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": "cycleqd"}


def models() -> Json:
    """Return the list of models."""
    return {"object": "list", "data": [model()]}
