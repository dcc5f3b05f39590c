"""Answers in the form that the user chose: records as JSON or YAML. Tables are the commands' own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import typer
import yaml

from cycleqd.records import Record
from cycleqd_cli.options import Form


def write_records(found: Record | Sequence[Record], form: Form) -> None:
    """Print a record, or a list of them, as ``form``, which is json or yaml."""
    plain = (
        found.model_dump(mode="json") if isinstance(found, Record) else [each.model_dump(mode="json") for each in found]
    )
    if form == "json":
        typer.echo(json.dumps(plain, indent=1))
    else:
        yaml.safe_dump(plain, sys.stdout, sort_keys=False, allow_unicode=True)
