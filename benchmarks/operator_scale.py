"""The operator at scale: how soon pods appear and Jobs are succeeded, and what the operator itself costs.

Run ``python -m benchmarks.operator_scale`` with ``KUBECONFIG`` naming a cluster whose nodes are fakes of KWOK and
``AWS_*`` naming an S3 server. The operator is a process of this machine, its workers are those of
:mod:`benchmarks.scale.workers`. Runs are created by a client that stays connected, so ``kubectl``'s own start is not in
the figures; that a Job has ended or begun is what a watch beside the operator's tells. Cluster, S3 server, operator and
workers share this machine: on two cores the cluster is the slowest part. All takes some six minutes, and the cluster
a few more to remove what was made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Figure, absent, publish
from benchmarks.scale.measurements import MEASUREMENTS, Stage
from benchmarks.scale.process import Operator
from benchmarks.scale.scene import Scene

PACKAGES = ("kopf", "kubernetes", "boto3", "pydantic")


async def measure(names: list[str], seconds: float, node_selector: dict[str, str]) -> list[Figure]:
    """Do the measurements of these names, in one namespace with one operator after the other.

    Args:
        names: keys of :data:`MEASUREMENTS`.
        seconds: how long a steady state is watched.
        node_selector: labels of the fake nodes; empty if all nodes are.
    """
    scene = await Scene.open(node_selector)
    log = Path(tempfile.gettempdir()) / f"{scene.namespace}.log"
    figures: list[Figure] = []
    try:
        for name in (name for name in MEASUREMENTS if name in names):
            async with Operator(scene.namespace, log) as operator:
                made = await MEASUREMENTS[name](Stage(scene, operator, seconds))
            for figure in made:
                print(figure.line(), flush=True)
            figures += made
    finally:
        await scene.close()
    return figures


def main() -> int:
    """Measure and, if everything was measured, publish."""
    parser = argparse.ArgumentParser(description="The operator at scale.")
    parser.add_argument("names", nargs="*", help=f"measurements to do: {', '.join(MEASUREMENTS)}; all if left out")
    parser.add_argument("--seconds", type=float, default=15, help="how long a steady state is watched")
    parser.add_argument("--node-selector", default="", metavar="KEY=VALUE", help="label of the fake nodes")
    options = parser.parse_args()
    if strangers := set(options.names) - set(MEASUREMENTS):
        parser.error(f"no measurement is called {min(strangers)}: there are {', '.join(MEASUREMENTS)}")
    selector = dict([options.node_selector.split("=", 1)]) if options.node_selector else {}
    try:
        figures = asyncio.run(measure(options.names or list(MEASUREMENTS), options.seconds, selector))
    except SystemExit as error:
        return absent(__file__, f"{str(error).splitlines()[0]} benchmarks/scale/scene.py says more.")
    return 0 if options.names else publish(__file__, figures, packages=PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
