"""The host as a server of its own, for a container beside the worker's: ``python3 -m jail.serve --socket PATH``.

It shares nothing with the worker but the folder of the socket: every connection there is one request, or one machine.
Standard library only, and nothing of this project but this package. The end of its container ends all that it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator

from . import wire
from .host_process import HostProcess
from .tree import remove

_BACKLOG = 512
_PROBE_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, or until the host dies; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m jail.serve", description=__doc__.partition("\n")[0])
    parser.add_argument("--socket", required=True, metavar="PATH", help="where to listen; an old socket is replaced")
    parser.add_argument("--folder", metavar="PATH", help="for fresh directories, emptied at start; default: below /tmp")
    parser.add_argument(
        "--kind", default="Auto", choices=["Auto", "Namespaces", "Landlock"], help="how to keep code in"
    )
    parser.add_argument("--probe", action="store_true", help="ask the server that is there; exit code 0 if it answers")
    options = parser.parse_args(arguments)
    if options.probe:
        return _probe(options.socket)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = options.folder or os.path.join(tempfile.gettempdir(), "cycleqd-sidecar")
    kinds = ("Namespaces", "Landlock") if options.kind == "Auto" else (options.kind,)
    with _emptied(folder), _listening(options.socket) as listener:
        return _serve(options.socket, listener, folder, kinds)


def _serve(path: str, listener: socket.socket, folder: str, kinds: tuple[str, ...]) -> int:
    missing = []
    for kind in kinds:
        host = HostProcess(kind, folder=folder, listener=listener)
        try:
            said = host.wait_until_ready()
            if "missing" in said:
                missing.append(f"{kind}: {said['missing']}")
                continue
            machines = f"no machines ({said['no_machines']})" if said["no_machines"] else "machines"
            print(f"serving {kind} with {machines} on {path}", file=sys.stderr)  # noqa: T201 - the container's log
            return host.process.wait() or 1  # it has no reason to end
        finally:
            host.close()
    print(f"no sandbox here ({'; '.join(missing)})", file=sys.stderr)  # noqa: T201
    return 1


@contextlib.contextmanager
def _emptied(folder: str) -> Iterator[None]:
    """Have a folder to ourselves, without what a server that was killed has left there."""
    os.makedirs(folder, mode=0o711, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in os.listdir(folder):
            remove(os.path.join(folder, name))
        yield
    except BlockingIOError:
        sys.exit(f"{folder} is another server's: give each its own --folder")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _listening(path: str) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - the folder, which only this pod has, is the fence
    listener.listen(_BACKLOG)
    with listener:
        yield listener


def _probe(path: str) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PROBE_SECONDS)
        try:
            connection.connect(path)
            connection.sendall(wire.pack({"do": "greet"}))
            return 0 if wire.receive(connection) else 1
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)  # noqa: T201
            return 1


if __name__ == "__main__":
    sys.exit(main())
