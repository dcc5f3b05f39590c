"""Does what ``docker`` would, as far as its command line goes: no image, no container, a program of this machine.

It shows what we ask for and how we take what comes of it. What Docker and Podman make of it is not tested with it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parent


def main() -> int:
    """Do one command. Returns its exit code."""
    arguments = sys.argv[1:]
    with (HOME / "calls").open("a", encoding="utf-8") as file:
        file.write(json.dumps(arguments) + "\n")
    if arguments[:2] == ["image", "inspect"]:
        return 0 if (HOME / "pulled").exists() else 1
    if arguments[0] == "pull":
        if "missing" in arguments[1]:
            sys.stderr.write("pull access denied\n")
            return 1
        (HOME / "pulled").touch()
        return 0
    if arguments[0] == "kill":
        os.killpg(int((HOME / arguments[1]).read_text(encoding="utf-8")), signal.SIGKILL)
        return 0
    return run(arguments[1:])


def run(arguments: list[str]) -> int:
    """Run a program in the folder that it would see as another one."""
    parser = argparse.ArgumentParser()
    for flag in ("--rm",):
        parser.add_argument(flag, action="store_true", required=True)
    for option in ("--name", "--network", "--cap-drop", "--workdir", "--entrypoint", "--volume"):
        parser.add_argument(option, required=option != "--entrypoint")
    for option in ("--env", "--security-opt"):
        parser.add_argument(option, action="append", required=True)
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    outside, _, inside = given.volume.partition(":")
    variables = {name: os.environ[name].replace(inside, outside) for name in given.env}
    program = subprocess.Popen(
        [given.entrypoint, *given.command],
        cwd=outside,
        env={"PATH": os.environ["PATH"], **variables},
        start_new_session=True,  # whoever kills docker leaves the container alive
    )
    (HOME / given.name).write_text(str(program.pid), encoding="utf-8")
    code = program.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
