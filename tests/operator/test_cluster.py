"""The operator's client against a server that speaks HTTP: requests as a server wants them, and refusals translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from kubernetes.aio import client

import cycleqd_operator.cluster as cluster_module
from cycleqd.errors import CycleQDError
from cycleqd_operator import labels
from cycleqd_operator.cluster import (
    PAGE,
    PLURAL,
    REQUESTS_AT_ONCE,
    Cluster,
    ClusterUnreachable,
    Gone,
    NameTaken,
    Refused,
)
from cycleqd_operator.conditions import Event
from cycleqd_operator.run_ref import RunRef
from tests.core.support import spec_dict
from tests.operator.api_server import ApiServer, Body, run_body
from tests.operator.manifests import RUN, job
from tests.operator.standings import NOON

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(lambda: NOON)


async def _served(handler: Handler) -> AsyncIterator[Cluster]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    http = TestServer(app)
    await http.start_server()
    configuration = client.Configuration(host=str(http.make_url("")).rstrip("/"))
    configuration.api_key = {"BearerToken": "Bearer token-of-the-pod"}
    async with client.ApiClient(configuration) as api:
        yield Cluster(api)
    await http.close()


@pytest.fixture
async def cluster(server: ApiServer) -> AsyncIterator[Cluster]:
    """A client of :func:`server`."""

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer token-of-the-pod"
        body = await request.json() if request.can_read_body else None
        status, answer = server.answer(request.method, request.path, dict(request.query), body, request.content_type)
        return web.json_response(answer, status=status)

    async for found in _served(handle):
        yield found


class Answers:
    """A server that gives one answer to everything."""

    def __init__(self) -> None:
        self.handler: Handler = self.text(200, "{}")

    def text(self, status: int, text: str) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return web.Response(status=status, text=text)

        return handle


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def answered(answers: Answers) -> AsyncIterator[Cluster]:
    """A client of a server that gives whatever answer the test wants."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answers.handler(request)

    async for found in _served(handle):
        yield found


def named(name: str) -> Body:
    made: Body = job()
    return {**made, "metadata": {**made["metadata"], "name": name}}


def add_run(server: ApiServer) -> RunRef:
    return RunRef.of(server.add(PLURAL, run_body("demo", spec_dict())))


class TestJobs:
    async def test_one_is_made_read_and_deleted(self, cluster: Cluster, server: ApiServer) -> None:
        made = await cluster.create_job(job())
        name = made["metadata"]["name"]
        assert made["metadata"]["uid"]
        assert await cluster.job(RUN.namespace, name) == made
        await cluster.delete_job(RUN.namespace, name, made["metadata"]["uid"])
        assert server.all("jobs") == []
        with pytest.raises(Gone, match=f"GET .*/jobs/{name}.*not found"):
            await cluster.job(RUN.namespace, name)

    async def test_a_name_is_given_once(self, cluster: Cluster) -> None:
        await cluster.create_job(job())
        with pytest.raises(NameTaken, match="already exists"):
            await cluster.create_job(job())

    async def test_another_job_of_the_name_is_not_deleted(self, cluster: Cluster, server: ApiServer) -> None:
        made = await cluster.create_job(job())
        await cluster.delete_job(RUN.namespace, made["metadata"]["name"], "uid of an earlier one")
        assert len(server.all("jobs")) == 1

    async def test_deleting_what_is_gone_is_no_error(self, cluster: Cluster) -> None:
        await cluster.delete_job(RUN.namespace, "nobody", "uid")

    @pytest.mark.parametrize("count", [0, 1, PAGE, 2 * PAGE + 1])
    async def test_all_pages_are_listed(self, cluster: Cluster, server: ApiServer, count: int) -> None:
        for number in range(count):
            server.add("jobs", named(f"job-{number:03d}"))
        found = [each["metadata"]["name"] async for each in cluster.jobs(())]
        assert found == [f"job-{number:03d}" for number in range(count)]
        assert len(server.requests) == max(1, -(-count // PAGE))

    async def test_only_ours_are_listed_and_the_server_chooses(self, cluster: Cluster, server: ApiServer) -> None:
        server.add("jobs", {"metadata": {"name": "foreign", "namespace": RUN.namespace}, "spec": {}})
        server.add("jobs", named("ours"))
        assert [each["metadata"]["name"] async for each in cluster.jobs(())] == ["ours"]

    async def test_only_the_namespaces_that_are_served_are_asked(self, cluster: Cluster, server: ApiServer) -> None:
        for namespace in ("a", "b", "c"):
            made = named("job")
            made["metadata"]["namespace"] = namespace
            server.add("jobs", made)
        assert [each["metadata"]["namespace"] async for each in cluster.jobs(("a", "c"))] == ["a", "c"]
        assert server.requests == [f"GET /apis/batch/v1/namespaces/{each}/jobs" for each in ("a", "c")]

    async def test_misspelt_fields_are_refused_not_dropped(self, answered: Cluster, answers: Answers) -> None:
        asked: list[str] = []

        async def handle(request: web.Request) -> web.Response:
            asked.append(request.query["fieldValidation"])
            return web.json_response({})

        answers.handler = handle
        await answered.create_job(job())
        assert asked == ["Strict"]


class TestPods:
    async def test_a_jobs_pods_come_in_the_order_of_their_age(self, cluster: Cluster, server: ApiServer) -> None:
        for name, of, at in (("b", "mine", 1), ("a", "mine", 2), ("c", "another", 3)):
            pod = server.add("pods", {"metadata": {"name": name, "namespace": "research", "labels": _of_job(of)}})
            pod["metadata"]["creationTimestamp"] = f"2027-01-15T08:00:0{at}Z"
        assert [pod["metadata"]["name"] for pod in await cluster.pods_of_job("research", "mine")] == ["b", "a"]

    async def test_a_runs_pods_are_those_of_its_workers(self, cluster: Cluster, server: ApiServer) -> None:
        worker = {labels.COMPONENT: "worker", labels.RUN_UID: RUN.uid}
        for name, tags in {"mine": worker, "other": {**worker, labels.RUN_UID: "b"}, "bare": {}}.items():
            server.add("pods", {"metadata": {"name": name, "namespace": RUN.namespace, "labels": tags}})
        assert [pod["metadata"]["name"] for pod in await cluster.pods_of_run(RUN)] == ["mine"]


class TestRuns:
    async def test_a_status_is_replaced_as_a_whole(self, cluster: Cluster, server: ApiServer) -> None:
        run = add_run(server)
        await cluster.write_status(run, {"state": "Breeding", "best": 0.5})
        await cluster.write_status(run, {"state": "Paused"})
        assert server.find(PLURAL, "demo")["status"] == {"state": "Paused"}

    async def test_the_status_of_a_run_that_is_gone(self, cluster: Cluster) -> None:
        with pytest.raises(Gone):
            await cluster.write_status(RUN, {"state": "Breeding"})

    async def test_finalizers_are_replaced_in_the_version_that_was_seen(
        self, cluster: Cluster, server: ApiServer
    ) -> None:
        run = add_run(server)
        version = server.find(PLURAL, "demo")["metadata"]["resourceVersion"]
        await cluster.set_finalizers(run, [labels.FINALIZER], version)
        assert server.find(PLURAL, "demo")["metadata"]["finalizers"] == [labels.FINALIZER]
        with pytest.raises(NameTaken):
            await cluster.set_finalizers(run, [], version)

    async def test_one_is_deleted_and_no_other_of_its_name(self, cluster: Cluster, server: ApiServer) -> None:
        run = add_run(server)
        await cluster.delete_run(RunRef(run.name, run.namespace, "uid of an earlier one", 1))
        assert len(server.all(PLURAL)) == 1
        await cluster.delete_run(run)
        await cluster.delete_run(run)
        assert server.all(PLURAL) == []

    async def test_an_event_says_what_it_is_about(self, cluster: Cluster, server: ApiServer) -> None:
        await cluster.record(RUN, Event("Warning", "StoreUnreachable", "ä" * 512))
        [event] = server.events
        assert event["regarding"] == {
            "apiVersion": "cycleqd.dev/v1alpha1",
            "kind": "CycleQDRun",
            "name": RUN.name,
            "namespace": RUN.namespace,
            "uid": RUN.uid,
        }
        assert (event["type"], event["reason"], event["note"]) == ("Warning", "StoreUnreachable", "ä" * 512)
        assert event["eventTime"].endswith("Z")

    async def test_without_the_definition_of_runs_it_asks_for_it(self, cluster: Cluster, server: ApiServer) -> None:
        await cluster.check_definition()
        server.has_definition = False
        with pytest.raises(ClusterUnreachable, match="install the CustomResourceDefinition"):
            await cluster.check_definition()


async def test_a_secret_is_decoded(cluster: Cluster, server: ApiServer) -> None:
    server.add(
        "secrets", {"metadata": {"name": "s3", "namespace": "research"}, "data": {"KEY": "dmFsdWU=", "RAW": "/w=="}}
    )
    server.add("secrets", {"metadata": {"name": "empty", "namespace": "research"}})
    assert await cluster.secret("research", "s3") == {"KEY": "value", "RAW": "\ufffd"}
    assert await cluster.secret("research", "empty") == {}
    with pytest.raises(Gone):
        await cluster.secret("research", "nobody")


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, Refused),
            (401, ClusterUnreachable),
            (403, Refused),
            (404, Gone),
            (408, ClusterUnreachable),
            (409, NameTaken),
            (410, ClusterUnreachable),
            (413, Refused),
            (415, Refused),
            (422, Refused),
            (429, ClusterUnreachable),
            (500, ClusterUnreachable),
            (502, ClusterUnreachable),
            (503, ClusterUnreachable),
            (504, ClusterUnreachable),
        ],
    )
    @pytest.mark.parametrize("text", ['{"kind":"Status","message":"because"}', "because"], ids=["json", "text"])
    async def test_what_they_mean(
        self, answered: Cluster, answers: Answers, status: int, kind: type[CycleQDError], text: str
    ) -> None:
        answers.handler = answers.text(status, text)
        with pytest.raises(CycleQDError) as caught:
            await answered.job("research", "demo")
        assert type(caught.value) is kind
        assert f"GET /apis/batch/v1/namespaces/research/jobs/demo ({status}" in str(caught.value)
        assert "because" in str(caught.value)

    @pytest.mark.parametrize("text", ["", "[]", '"text"', "<html>" * 1000, '{"code": 3}'])
    async def test_bodies_that_no_api_server_sends(self, answered: Cluster, answers: Answers, text: str) -> None:
        answers.handler = answers.text(403, text)
        with pytest.raises(Refused) as caught:
            await answered.job("research", "demo")
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("text", ["", "<html>welcome</html>", '{"half'])
    async def test_an_answer_that_is_none(self, answered: Cluster, answers: Answers, text: str) -> None:
        answers.handler = answers.text(200, text)
        with pytest.raises(ClusterUnreachable, match="GET /apis/batch/v1/namespaces/research/jobs/demo"):
            await answered.job("research", "demo")


class TestNoAnswer:
    async def test_nobody_listens(self) -> None:
        configuration = client.Configuration(host=f"http://127.0.0.1:{unused_port()}")
        async with client.ApiClient(configuration) as api:
            with pytest.raises(ClusterUnreachable, match=r"did not answer GET /apis/batch/v1/jobs \(.+\)\."):
                await anext(Cluster(api).jobs(()))

    async def test_it_takes_too_long(
        self, answered: Cluster, answers: Answers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster_module, "TIMEOUT_SECONDS", 0.05)
        over = asyncio.Event()

        async def hang(request: web.Request) -> web.Response:
            await over.wait()
            return web.json_response({})

        answers.handler = hang
        with pytest.raises(ClusterUnreachable, match="did not answer"):
            await answered.job("research", "demo")
        over.set()

    async def test_the_connection_breaks_in_the_middle(self, answered: Cluster, answers: Answers) -> None:
        async def cut(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"kind":')
            assert request.transport
            request.transport.close()
            return response

        answers.handler = cut
        with pytest.raises(ClusterUnreachable, match="did not answer"):
            await answered.job("research", "demo")


async def test_only_so_many_requests_are_under_way(answered: Cluster, answers: Answers) -> None:
    busy = most = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal busy, most
        busy += 1
        most = max(busy, most)
        await asyncio.sleep(0)
        busy -= 1
        return web.json_response({})

    answers.handler = handle
    await asyncio.gather(*(answered.job("research", f"job-{number}") for number in range(3 * REQUESTS_AT_ONCE)))
    assert 0 < most <= REQUESTS_AT_ONCE


def _of_job(name: str) -> dict[str, Any]:
    return {"batch.kubernetes.io/job-name": name}
