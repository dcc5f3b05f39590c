"""Where programs run: chosen by the environment; Docker's command line; what a container must not do to the worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cycleqd.api.tasks import ContainerEvaluator
from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd.sidecars import CONTAINERS
from cycleqd_runner.tasks.container.beside import BesideWorker
from cycleqd_runner.tasks.container.docker import Docker
from cycleqd_runner.tasks.container.launchers import open_launcher
from tests.runner.tasks.container import places
from tests.runner.tasks.container.places import COMMAND, IMAGE

SPEC = ContainerEvaluator(type="Container", image=IMAGE, command=COMMAND, data="judged.jsonl")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with places.docker(tmp_path, monkeypatch) as home:
        yield home


def calls(home: Path) -> list[list[str]]:
    return [json.loads(line) for line in (home / "calls").read_text(encoding="utf-8").splitlines()]


def run(image: str, *command: str, **environment: str) -> int:
    async def main() -> int:
        async with Docker("docker", image, command).launch(b"{}", environment) as program:
            return await program.ended()

    return asyncio.run(main())


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(CONTAINERS, raising=False)
    with pytest.raises(UnsupportedHere, match=rf"{IMAGE} needs docker or podman, and neither is here: install one"):
        open_launcher(SPEC)
    for name in ("podman", "docker"):
        (tmp_path / name).touch(mode=0o755)
        assert isinstance(open_launcher(SPEC), Docker)
    with places.beside(tmp_path, monkeypatch):
        assert isinstance(open_launcher(SPEC), BesideWorker)
        with pytest.raises(UnsupportedHere, match="No container of the image other:1 is beside this worker"):
            open_launcher(SPEC.model_copy(update={"image": "other:1"}))


def test_a_key_is_not_on_the_command_line(docker: Path) -> None:
    assert run(IMAGE, "sh", "-c", 'test "${KEY#secr}" = et', KEY="secret") == 0
    called = calls(docker)[-1]
    assert "--env=KEY" in called
    assert "secret" not in " ".join(called)
    assert {"--rm", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--entrypoint=sh"} <= set(called)
    assert called[-3:] == [IMAGE, "-c", 'test "${KEY#secr}" = et']


def test_without_a_command_the_images_own_is_kept(docker: Path) -> None:
    with pytest.raises(AssertionError):  # the stand-in has no image whose entry point it could run
        assert run(IMAGE) == 0
    called = calls(docker)[-1]
    assert called[-1] == IMAGE
    assert not any(part.startswith("--entrypoint") for part in called)


def test_an_image_is_pulled_once(docker: Path) -> None:
    launcher = Docker("docker", IMAGE, ("true",))

    async def main() -> None:
        async with launcher.launch(b"", {}) as one, launcher.launch(b"", {}) as other:
            await asyncio.gather(one.ended(), other.ended())

    asyncio.run(main())
    assert [call[0] for call in calls(docker)] == ["image", "pull", "run", "run"]


def test_an_image_that_cannot_be_pulled_is_no_score(docker: Path) -> None:
    with pytest.raises(Unscored, match=r"The image missing:1 cannot be pulled \(pull access denied\)"):
        run("missing:1", "true")


def test_a_container_that_sees_nothing_is_no_score(tmp_path: Path) -> None:
    async def main() -> None:
        async with BesideWorker(tmp_path, start_seconds=0.2).launch(b"{}", {}):
            raise AssertionError

    with pytest.raises(Unscored, match=r"saw no request for 0\.2 s"):
        asyncio.run(main())
    assert not list(tmp_path.iterdir()), "nothing is left"


@pytest.mark.parametrize("exit_code", [None, "", "soon", "link"])
def test_an_exit_that_is_no_number_is_no_score(tmp_path: Path, exit_code: str | None) -> None:
    async def main() -> None:
        async with BesideWorker(tmp_path).launch(b"{}", {"A": "it's"}) as program:
            if exit_code == "link":
                (program.folder / "exit").symlink_to(tmp_path / "0")
            elif exit_code is None:
                (program.folder / "exit").mkdir()
            else:
                (program.folder / "exit").write_text(exit_code, encoding="utf-8")
            await program.ended()

    async def with_a_container() -> None:
        working = asyncio.ensure_future(main())
        await asyncio.to_thread(see_the_request)
        await working

    def see_the_request() -> None:
        while not (asked := list(tmp_path.glob("*/environment"))):
            time.sleep(0.01)
        assert "export A='it'\"'\"'s'" in asked[0].read_text(encoding="utf-8").splitlines()
        (asked[0].parent / "started").touch()

    (tmp_path / "0").write_text("0", encoding="utf-8")
    with pytest.raises(Unscored, match="gave no exit code"):
        asyncio.run(with_a_container())
