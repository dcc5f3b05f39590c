"""The images of ``Container`` evaluators beside a worker: one sidecar for each image and command.

The worker asks by making a folder; :data:`ATTEND` runs the image's program in it, once for each request. A container
that ran once and ended would not do: Kubernetes waits longer and longer before it starts one again.
"""

from __future__ import annotations

from collections.abc import Iterator

from cycleqd import sidecars as shared
from cycleqd.api.run import RunSpec
from cycleqd.api.tasks import ContainerEvaluator
from cycleqd.errors import BadManifest
from cycleqd_operator.sidecar import Meeting, PodPart, container, memory_limit

ATTEND = """\
cd "$1" && shift || exit 1
export HOME=/tmp
trap 'exit 0' TERM
leave() { echo "$1" >exit.part && mv exit.part exit; }
attend() {
  cd "$1" && shift || return
  ( . ./environment && exec $group "$@" ) >log 2>&1 &
  program=$!
  ( while [ ! -e stop ]; do sleep 0.2; done; kill -KILL ${group:+-}"$program" ) 2>/dev/null &
  watch=$!
  wait "$program"; leave $?
  kill "$watch"
}
group=$(command -v setsid)
for begun in */started; do
  if [ -e "$begun" ] && [ ! -e "${begun%/started}/exit" ]; then ( cd "${begun%/started}" && leave 137 ); fi
done
while :; do
  for asked in */environment; do
    folder=${asked%/environment}
    if [ -e "$asked" ] && [ ! -e "$folder/started" ]; then : >"$folder/started"; attend "$folder" "$@" & fi
  done
  sleep 0.2
done
"""
"""Script for any /bin/sh, with the shared folder and the program with its arguments as its own arguments.

A request is a folder in it, ready when the file ``environment`` (lines ``export NAME=VALUE``) is there. The program
runs in that folder, its output goes to ``log``, and its exit code, which says that it has ended, to ``exit``. A file
``stop`` has it killed. What had begun when the container died has ended with 137.
"""


def container_sidecars(spec: RunSpec) -> Iterator[PodPart]:
    """Yield a sidecar for each image and command that evaluators of the run name.

    Raises:
        BadManifest: a command is missing. Kubernetes tells nobody what an image's own entry point is.
    """
    known: set[str] = set()
    for evaluator in shared.evaluators(spec):
        if not isinstance(evaluator, ContainerEvaluator):
            continue
        if not evaluator.command:
            raise BadManifest(
                f"The Container evaluator of the image {evaluator.image} has no command, which it needs on a cluster: "
                "set evaluator.command to the program and arguments that the image's entry point runs."
            )
        key = shared.container_key(evaluator.image, evaluator.command)
        if key not in known:
            known.add(key)
            yield _sidecar(spec, evaluator, key)


def _sidecar(spec: RunSpec, evaluator: ContainerEvaluator, key: str) -> PodPart:
    name, folder = f"container-{key}", f"{shared.CONTAINERS_FOLDER}/{key}"
    return PodPart(
        container(
            name,
            evaluator.image,
            user=None,  # the worker's: both write into the folders of requests
            mounts={folder: f"cycleqd-{name}", "/tmp": f"cycleqd-{name}-tmp"},  # noqa: S108 - its own
            resources=spec.workers.sidecars.container.resources or memory_limit("128Mi", "2Gi"),
            command=("/bin/sh", "-c", ATTEND, "attend", folder, *evaluator.command),
        ),
        Meeting(f"cycleqd-{name}", folder, shared.CONTAINERS, shared.CONTAINERS_FOLDER),
        ({"name": f"cycleqd-{name}-tmp", "emptyDir": {}},),
    )
