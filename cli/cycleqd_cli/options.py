"""Arguments and options that several commands share: which run, in which cluster, in which form to answer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from cycleqd_cli import completion
from cycleqd_cli.where import Where

PANEL = "Cluster"

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="The run: its manifest, its folder, its storage URI (s3://BUCKET/PREFIX), or its name in the cluster.",
        autocompletion=completion.runs,
    ),
]
ClusterRunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of the run in the cluster.", autocompletion=completion.runs)
]
Form = Literal["table", "json", "yaml"]
FormOption = Annotated[Form, typer.Option("--output", "-o", help="Form of the answer.")]

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Namespace of the run; the context's if not given.",
        rich_help_panel=PANEL,
        autocompletion=completion.namespaces,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Context of the kubeconfig; its current one if not given.",
        rich_help_panel=PANEL,
        autocompletion=completion.contexts,
    ),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="The kubeconfig; KUBECONFIG or ~/.kube/config if not given.", rich_help_panel=PANEL
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address of the S3 server as seen from here, in place of AWS_ENDPOINT_URL in the run's Secret.",
        rich_help_panel=PANEL,
    ),
]

CLUSTER = {"namespace": Namespace, "context": Context, "kubeconfig": Kubeconfig}
STORE = {"endpoint_url": EndpointUrl}


def with_options(command: Callable[..., None], *, store: bool) -> Callable[..., None]:
    """Return a command whose parameter ``where`` is made of command line options.

    Args:
        command: takes a :class:`Where` named ``where``.
        store: whether it reads the run's store, too.
    """
    options = CLUSTER | STORE if store else CLUSTER
    signature = inspect.signature(command, eval_str=True)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "where"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - whatever the command takes
        command(where=Where(**{name: given.pop(name) for name in options}), **given)

    # typer reads these.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
