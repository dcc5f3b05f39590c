"""How the suite runs: one world for all, scenarios that do not disturb each other side by side, words for failures.

A scenario mostly waits for pods. Those marked ``together`` run in threads, all at once, each as its own test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from unittest import mock

import pytest

from tests.e2e.cluster import Kubectl, connect, install_definition, throwaway_namespace
from tests.e2e.comparison import Comparison, playing
from tests.e2e.diagnosis import explained
from tests.e2e.scene import Scene
from tests.e2e.world import World, build_world

THREADS = int(os.environ.get("CYCLEQD_E2E_TOGETHER", "4"))
"""Scenarios side by side; each has a worker or two on the nodes."""

_futures: dict[str, Future[None]] = {}


def pytest_configure(config: pytest.Config) -> None:
    # Pytest deletes a variable as each test ends, at which other threads stumble that walk through the environment
    # (urllib does, for proxies).
    quiet = mock.patch("_pytest.runner._update_current_test_var")
    quiet.start()
    config.add_cleanup(quiet.stop)
    config.addinivalue_line("markers", "together(long=False): a scenario that others do not disturb")
    config.addinivalue_line("markers", "empty_cluster: a scenario for which nothing has been installed yet")
    config.addinivalue_line("markers", "meanwhile: needs no cluster, only time, of which others leave enough")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What wants an empty cluster comes first, then what stops something for everybody; of the rest the longest.

    What is computed meanwhile is looked at last.
    """
    here = [place for place, item in enumerate(items) if "tests/e2e/" in item.nodeid]
    ordered = sorted((items[place] for place in here), key=_turn)
    for place, item in zip(here, ordered, strict=True):
        items[place] = item


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("empty_cluster"):
        return -1
    if item.get_closest_marker("meanwhile"):
        return 3
    mark = item.get_closest_marker("together")
    return 0 if mark is None else 1 if mark.kwargs.get("long") else 2


def _is_together(item: pytest.Item) -> bool:
    return item.get_closest_marker("together") is not None


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The cluster."""
    return connect()


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of a cluster that knows what a run is; it goes when the module is done."""
    install_definition(kubectl)
    with throwaway_namespace(kubectl) as name:
        yield name


@pytest.fixture(scope="session", autouse=True)
def comparison(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison | None]:
    """What is played beside all others; none where nobody looks at it."""
    if any(item.get_closest_marker("meanwhile") for item in request.session.items):
        with playing(tmp_path_factory.mktemp("results")) as begun:
            yield begun
    else:
        yield None


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with build_world() as built:
        yield built


@pytest.fixture
def scene(world: World) -> Scene:
    """What a scenario gets; it may make runs with it."""
    return Scene(world)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a scenario, or wait for it if it runs already."""
    given = pyfuncitem.funcargs.get("scene")
    if not isinstance(given, Scene):
        return None
    world = given.world
    if not _is_together(pyfuncitem):
        _play(pyfuncitem, world)
        return True
    if pyfuncitem.nodeid not in _futures:
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="scenario")
        for item in pyfuncitem.session.items:
            if isinstance(item, pytest.Function) and _is_together(item):
                _futures[item.nodeid] = pool.submit(_play, item, world)
        pool.shutdown(wait=False)
    _futures[pyfuncitem.nodeid].result()
    return True


def _play(item: pytest.Function, world: World) -> None:
    scene, scenario = Scene(world), item.obj
    try:
        with explained(item, scene.runs):
            _call(scenario, scene, getattr(item, "callspec", None))
    finally:
        with suppress(Exception):  # what is left goes with the namespace
            scene.close()


def _call(scenario: Callable[..., None], scene: Scene, spec: Any) -> None:
    scenario(scene=scene, **(spec.params if spec else {}))
