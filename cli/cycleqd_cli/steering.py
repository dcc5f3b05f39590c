"""``cycleqd pause``, ``resume``, ``suspend``, ``finish`` and ``cancel``: what the user wants of a run in a cluster.

They change ``spec.desiredState``; what follows from that is the operator's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import typer

from cycleqd.errors import BadManifest
from cycleqd_cli.opening import find_in_cluster
from cycleqd_cli.options import ClusterRunArgument
from cycleqd_cli.where import Where


@dataclass(frozen=True)
class Verb:
    """One way to steer.

    Attributes:
        name: of the command.
        state: the desiredState that it sets.
        help: of the command.
        follows: what the operator will do.
    """

    name: str
    state: str
    help: str
    follows: str

    @property
    def epilog(self) -> str:
        """Examples."""
        return f"Examples:\n\n- `cycleqd {self.name} quickstart`\n- `cycleqd {self.name} quickstart -n research`\n"


VERBS = (
    Verb(
        "pause",
        "Paused",
        "Let a run's workers finish the child at hand, then wait.",
        "workers finish the child at hand, then their pods end",
    ),
    Verb("resume", "Running", "Let a run go on: after pause, suspend, finish or cancel.", "it goes on where it was"),
    Verb(
        "suspend",
        "Suspended",
        "Stop a run's pods now; children at hand are bred again after resume.",
        "its pods are stopped now",
    ),
    Verb(
        "finish",
        "Finished",
        "Stop breeding, and make the final model of the children that there are.",
        "the final model is made of the children that there are",
    ),
    Verb("cancel", "Cancelled", "Stop a run without a final model; its results are kept.", "its results are kept"),
)


def steering(verb: Verb) -> Callable[..., None]:
    """Return the command of a verb."""

    def command(run: ClusterRunArgument, where: Where) -> None:
        found = find_in_cluster(run, where)
        if found is None:
            raise BadManifest(
                f"{run} is no run in a cluster: name one that `cycleqd list` shows; a run of this machine is stopped "
                "with Ctrl-C."
            )
        if found.desired_state == verb.state:
            typer.echo(f"{found.name} is to be {verb.state} already.")
            return
        found.cluster.set_desired_state(found.name, verb.state)
        typer.echo(f"{found.name}: {found.desired_state} → {verb.state}; {verb.follows}.")

    command.__doc__ = verb.help
    return command
