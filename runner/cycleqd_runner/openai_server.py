"""An OpenAI-compatible HTTP server on this machine, for programs that ask a model. What is asked goes to a callable."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cycleqd.errors import CycleQDError, PermanentError
from cycleqd_runner.chat import Answer
from cycleqd_runner.openai_api import (
    ChatRequest,
    Json,
    Refused,
    completion,
    model,
    models,
    read_request,
    require_model,
)

LOG = logging.getLogger(__name__)

MOST_BYTES = 16 << 20
"""Of one request; no context is as long."""

Answerer = Callable[[ChatRequest], Awaitable[Answer]]
"""Answers a request. Raises :class:`~cycleqd_runner.openai_api.Refused`, or what engines raise."""


class Address(NamedTuple):
    """Where a server is, and the key that opens it."""

    url: str
    key: str


@asynccontextmanager
async def serving(answer: Answerer) -> AsyncIterator[Address]:
    """Serve ``/v1/models`` and ``/v1/chat/completions`` on a free port of 127.0.0.1, to who has the key.

    A request whose client goes away is given up.
    """
    key = secrets.token_urlsafe(32)
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[_refusing, _only_with(key)])
    app.add_routes(
        [
            web.get("/v1/models", _models),
            web.get("/v1/models/{name}", _model),
            web.post("/v1/chat/completions", _completions(answer)),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield Address(f"http://{host}:{port}/v1", key)
    finally:
        await runner.cleanup()


@web.middleware
async def _refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the client in OpenAI's form why it gets no answer."""
    try:
        return await handler(request)
    except Refused as error:
        return web.json_response(error.body, status=error.status)
    except web.HTTPError as error:  # an unknown path or method, a body that is too long
        refused = Refused(error.status, f"{request.method} {request.path}: {error.reason}.")
        return web.json_response(refused.body, status=refused.status)


def _only_with(key: str) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {key}".encode()):
            raise Refused(401, "Expected the key of OPENAI_API_KEY as bearer token.", code="invalid_api_key")
        return await handler(request)

    return check


async def _models(_request: web.Request) -> web.Response:
    return _said(models())


async def _model(request: web.Request) -> web.Response:
    require_model(request.match_info["name"])
    return _said(model())


def _completions(answer: Answerer) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        asked = read_request(await request.read())
        try:
            return _said(completion(await answer(asked)))
        except PermanentError as error:  # a conversation that is too long, or one that the chat template refuses
            raise Refused(400, str(error), code="invalid_prompt", param="messages") from error
        except CycleQDError as error:
            raise Refused(503, str(error)) from error

    return handle


def _said(body: Json) -> web.Response:
    return web.json_response(body)
