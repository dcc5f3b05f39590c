"""The ``cycleqd`` command: one module a command, which parses, delegates and prints. No work is done in here.

torch and transformers take seconds to import; only commands that touch weights do so, and only when they get there.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cycleqd import __version__
from cycleqd_cli import (
    compare,
    experts,
    export,
    init,
    listing,
    logs,
    plot,
    report,
    run,
    status,
    steering,
    transcripts,
    validate,
    worker,
)
from cycleqd_cli.failures import debugging, guarded, worker_exit_code
from cycleqd_cli.options import with_options

__all__ = ["app", "main"]

app = typer.Typer(
    name="cycleqd",
    help="Evolve one language model with several skills out of single-skill experts.",
    epilog="Begin with `cycleqd init`; `cycleqd COMMAND --help` shows examples.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cycleqd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(envvar="CYCLEQD_DEBUG", help="Show tracebacks of errors.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback has answered already
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    debugging.set(debug)


app.command(epilog=init.EPILOG)(guarded(init.init))
app.command(epilog=validate.EPILOG)(guarded(validate.validate))
app.command(epilog=experts.EPILOG)(guarded(experts.experts))
app.command(epilog=run.EPILOG)(guarded(run.run))
app.command("list", epilog=listing.EPILOG)(guarded(with_options(listing.list_runs, store=False)))
app.command(epilog=status.EPILOG)(guarded(with_options(status.status, store=True)))
app.command(epilog=logs.EPILOG)(guarded(with_options(logs.logs, store=True)))
app.command(epilog=transcripts.EPILOG)(guarded(with_options(transcripts.transcripts, store=True)))
app.command(epilog=plot.EPILOG)(guarded(with_options(plot.plot, store=True)))
app.command(epilog=report.EPILOG)(guarded(with_options(report.report, store=True)))
app.command(epilog=compare.EPILOG)(guarded(with_options(compare.compare, store=True)))
app.command(epilog=export.EPILOG)(guarded(with_options(export.export, store=True)))
for verb in steering.VERBS:
    steer = with_options(steering.steering(verb), store=False)
    app.command(verb.name, epilog=verb.epilog, rich_help_panel="Steering a run in the cluster")(guarded(steer))
app.command(epilog=worker.EPILOG, rich_help_panel="For machines")(guarded(worker.worker, worker_exit_code))


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    app(prog_name="cycleqd")
    sys.exit(0)
