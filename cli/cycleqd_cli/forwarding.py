"""A way from this machine to a service of the cluster: ``kubectl port-forward``, for as long as the command runs."""

from __future__ import annotations

import atexit
import re
import shutil
import socket
import subprocess
import threading
from functools import lru_cache
from urllib.parse import urlsplit

from cycleqd.errors import StoreUnreachable
from cycleqd_cli.where import Where

_SERVICE = re.compile(r"(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\..+)?")
_LISTENING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")


@lru_cache
def reachable(url: str, where: Where) -> str:
    """Return an address for ``url`` that works from here: itself, unless only the cluster's DNS knows its host.

    Raises:
        StoreUnreachable: the service cannot be forwarded.
    """
    parts = urlsplit(url)
    match = _SERVICE.fullmatch(parts.hostname or "")
    if match is None or _resolves(match.string):
        return url
    port = parts.port or (443 if parts.scheme == "https" else 80)
    command = ["kubectl", "port-forward", *_options(where)]
    command += ["--namespace", match["namespace"], f"service/{match['service']}"]
    advice = (
        f"The storage's address {url} is known in the cluster only: run `{' '.join(command)} {port}` and repeat the "
        f"command with --endpoint-url {parts.scheme}://localhost:{port}"
    )
    if parts.scheme == "https" or shutil.which("kubectl") is None:  # no certificate is made out to localhost
        raise StoreUnreachable(f"{advice}.")
    return f"{parts.scheme}://{_forwarded([*command, f':{port}'], advice)}"


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _options(where: Where) -> list[str]:
    named = {"--context": where.context, "--kubeconfig": where.kubeconfig}
    return [f"{option}={value}" for option, value in named.items() if value]


def _forwarded(command: list[str], advice: str) -> str:
    """Start forwarding and return the address on this machine; it ends with us."""
    forwarding = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    atexit.register(forwarding.terminate)
    match = forwarding.stdout and _LISTENING.match(forwarding.stdout.readline())
    if not match:
        _, complaint = forwarding.communicate()
        raise StoreUnreachable(f"{advice} ({' '.join(complaint.split())}).")
    # kubectl writes a line per connection, and stops where a pipe is full.
    threading.Thread(target=forwarding.communicate, daemon=True).start()
    return match[1]
