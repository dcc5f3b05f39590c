#!/usr/bin/env python3
"""Upload the quickstart's models to S3, where the workers of a cluster find them: base model and experts.

The image ``cycleqd-quickstart`` holds this script and the models, and calls it ``cycleqd-upload-quickstart``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cycleqd.errors import EXIT_BAD_INPUT, CycleQDError, TemporaryError
from cycleqd.store import ObjectStore, open_store
from cycleqd.store.s3 import S3Store
from cycleqd.store.transfer import upload_folder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BASE = ROOT / "models" / "smollm2-135m-instruct"
CONFIGS = ("config.json", "adapter_config.json")
"""Uploaded last: a worker that comes too early waits for them."""
PAUSE_SECONDS = 3


def prepare(store: ObjectStore, wait: int) -> None:
    """Wait up to ``wait`` seconds until the store answers, and make its bucket if it is missing."""

    def tell(state: RetryCallState) -> None:
        typer.echo(f"{state.outcome.exception() if state.outcome else ''} Trying again.", err=True)

    patiently = Retrying(
        retry=retry_if_exception_type(TemporaryError),
        stop=stop_after_delay(wait),
        wait=wait_fixed(PAUSE_SECONDS),
        before_sleep=tell,
        reraise=True,
    )
    if isinstance(store, S3Store):
        patiently(store.make_bucket)


def main(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where the models go: s3://BUCKET or s3://BUCKET/PREFIX.")],
    base: Annotated[Path, typer.Option(help="Folder of the base model, made by prepare_base.py.")] = BASE,
    wait: Annotated[
        int, typer.Option(envvar="CYCLEQD_UPLOAD_WAIT_SECONDS", min=0, help="How long to wait for a store, in seconds.")
    ] = 0,
) -> None:
    """Upload base model and experts to URI/models and URI/experts (290 MB). A missing bucket is made.

    With URI as its storage root, an operator finds them where run.yaml looks. Credentials are boto3's:
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, or a profile. A second upload replaces the first.

    Example: python examples/quickstart/upload.py s3://cycleqd
    """
    if not (base / "model.safetensors").is_file():
        typer.echo(f"There is no base model in {base}: run examples/quickstart/prepare_base.py first.", err=True)
        raise typer.Exit(EXIT_BAD_INPUT)
    folders = {f"models/{BASE.name}": base}
    folders |= {f"experts/{path.name}": path for path in sorted((HERE / "experts").iterdir()) if path.is_dir()}
    try:
        store = open_store(uri)
        prepare(store, wait)
        for name, folder in folders.items():
            count = upload_folder(store, folder, name, last=CONFIGS)
            typer.echo(f"{uri.rstrip('/')}/{name}: {count} files")
    except CycleQDError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error


if __name__ == "__main__":
    typer.run(main)
