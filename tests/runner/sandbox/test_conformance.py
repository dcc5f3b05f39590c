"""One suite for every provider: each row of the tables is run once per provider, all of them concurrently."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cycleqd.errors import UnsupportedHere
from cycleqd_runner.sandbox import Completed
from tests.runner.sandbox.attacks import ATTACKS, Attack
from tests.runner.sandbox.behaviours import BEHAVIOURS, MARK, Behaviour
from tests.runner.sandbox.rows import KEPT_IN, run_executions
from tests.runner.sandbox.variants import (
    VARIANTS,
    Loop,
    Variant,
    attackable_worker,
    opened,
    processes_with,
)

pytestmark = pytest.mark.long


@dataclass
class Suite:
    """All results of one provider, and what was left when it was closed."""

    variant: Variant
    results: dict[str, Completed]
    folder: Path
    marked: list[int]
    secret_after: bool


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: variant.id)
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    """Run all rows against one provider and close it."""
    variant: Variant = request.param
    if variant.user is not None and os.geteuid() != 0:
        pytest.skip("only root can start a host as somebody else")
    loop = Loop()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="cycleqd-suite-", dir="/var/tmp") as name,
            attackable_worker() as worker,
        ):
            folder = Path(name)
            folder.chmod(0o711)
            try:
                with opened(variant, loop, folder, concurrency=12) as sandbox:
                    worker.facts["host"] = sandbox.host.pid
                    results = loop.run(run_executions(sandbox, variant, worker.facts))
                    marked = processes_with(MARK)
            except UnsupportedHere as error:
                pytest.skip(str(error))
            untouched = (worker.folder / "file").read_bytes() == worker.secret
            yield Suite(variant, results, folder, marked, untouched)
    finally:
        loop.close()


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda row: row.id)
def test_behaviour(suite: Suite, behaviour: Behaviour) -> None:
    """Ordinary code works, limits hold, the final state is told: the same under every provider."""
    done = suite.results[behaviour.id]
    assert behaviour.expected(done), done


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda row: row.id)
def test_attack(suite: Suite, attack: Attack) -> None:
    """What must not be reached is not reached; and without a sandbox it would have been."""
    done = suite.results["attack-" + attack.id]
    if suite.variant.confined:
        assert done.stdout == KEPT_IN, done
    elif attack.works_without and os.geteuid() == 0:
        assert b"REACHED" in done.stdout, done
    else:
        assert done.stdout.endswith(KEPT_IN), done


def test_no_process_is_left(suite: Suite) -> None:
    """Neither daemons and background processes while the host lives, nor anything of the host afterwards."""
    assert suite.marked == []
    assert processes_with(str(suite.folder)) == []


def test_no_file_is_left(suite: Suite) -> None:
    """The host's folder is gone, with directories that were made hard to remove; the worker's file is untouched."""
    assert list(suite.folder.iterdir()) == []
    assert suite.secret_after
