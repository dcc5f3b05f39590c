"""The API server, as the scale benchmark needs it: requests and watches of plain dicts, whatever they are about."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config

Body = dict[str, Any]

REQUEST_SECONDS = 60
GONE_SECONDS = 600
WATCH_SECONDS = 300
"""The server ends a watch after so long; the next one goes on where it ended."""


class Refused(Exception):
    """The API server said no, with its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Api:
    """One API server: the one that KUBECONFIG names."""

    def __init__(self, connection: client.ApiClient) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls) -> Self:
        """Connect as KUBECONFIG says."""
        await config.load_kube_config()  # type: ignore[no-untyped-call]  # the client's own
        return cls(client.ApiClient())

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()  # type: ignore[no-untyped-call]  # the client's own

    async def request(
        self, method: str, path: str, body: object = None, query: dict[str, str] | None = None, content: str = "json"
    ) -> Body:
        """Send a request and return the answer. Raises :class:`Refused`."""
        response = await self._send(method, path, body, query or {}, content, REQUEST_SECONDS)
        answer = await response.read()
        if response.status >= 400:
            raise Refused(response.status, answer.decode(errors="replace"))
        parsed: Body = json.loads(answer)
        return parsed

    async def create(self, path: str, body: Body) -> Body:
        """Create an object, or return the one of that name."""
        try:
            return await self.request("POST", path, body)
        except Refused as refusal:
            if refusal.status != 409:
                raise
            return await self.request("GET", f"{path}/{body['metadata']['name']}")

    async def delete(self, path: str) -> None:
        """Delete an object and what it owns; one that is gone is no error."""
        try:
            await self.request("DELETE", path, {"propagationPolicy": "Background"})
        except Refused as refusal:
            if refusal.status != 404:
                raise

    async def has_any(self, path: str, selector: str = "") -> bool:
        """Return whether there is any object, without reading more than one of them."""
        return bool((await self.request("GET", path, query={"labelSelector": selector, "limit": "1"}))["items"])

    async def until_none(self, path: str, selector: str = "") -> None:
        """Wait until there is no object any more. Raises SystemExit after a few minutes."""
        for _ in range(GONE_SECONDS):
            if not await self.has_any(path, selector):
                return
            await asyncio.sleep(1)
        raise SystemExit(f"There are still objects of {path} after {GONE_SECONDS} s: delete their namespace.")

    async def watch(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Body]]:
        """Yield (ADDED, MODIFIED or DELETED, object) for ever; what exists at the beginning comes as ADDED."""
        version = ""
        while True:
            query = {"labelSelector": selector}
            if not version:
                page = await self.request("GET", path, query=query)
                version = page["metadata"]["resourceVersion"]
                for item in page["items"]:
                    yield "ADDED", item
            query |= {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
            response = await self._send("GET", path, None, query, "json", 2 * WATCH_SECONDS)
            while line := await _line(response.response):
                event = json.loads(line)
                if event["type"] == "ERROR":  # the version is too old: begin with a listing again
                    version = ""
                    break
                version = event["object"]["metadata"]["resourceVersion"]
                yield event["type"], event["object"]
            response.response.close()

    async def _send(
        self, method: str, path: str, body: object, query: dict[str, str], content: str, seconds: float
    ) -> Any:  # noqa: ANN401 - the client's own class
        request = await self._connection.param_serialize(
            method=method,
            resource_path=path,
            query_params=[(name, value) for name, value in query.items() if value],
            header_params={"Accept": "application/json", "Content-Type": f"application/{content}"},
            body=body,
            auth_settings=["BearerToken"],
        )
        return await self._connection.call_api(*request, _request_timeout=seconds)


async def _line(response: aiohttp.ClientResponse) -> bytes:
    """Return the next line of a watch; nothing at its end, however it came to that."""
    try:
        return await response.content.readline()
    except (TimeoutError, aiohttp.ClientError):
        return b""
