"""Upload the quickstart's models to S3, where the workers of a cluster find them: base model and experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cycleqd.errors import CycleQDError
from cycleqd.store import open_store
from cycleqd.store.transfer import upload_folder

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASE = ROOT / "models" / "smollm2-135m-instruct"


def main(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where the models go: s3://BUCKET/PREFIX.")],
    base: Annotated[Path, typer.Option(help="Folder of the base model, made by prepare_base.py.")] = BASE,
) -> None:
    """Upload base model and experts to URI/smollm2-135m-instruct, URI/sql, URI/shell and URI/python (290 MB).

    The bucket has to exist. Credentials are boto3's: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, or a
    profile. A second upload replaces the first.

    Example: python examples/quickstart/upload.py s3://cycleqd/models
    """
    if not (base / "model.safetensors").is_file():
        typer.echo(f"There is no base model in {base}: run examples/quickstart/prepare_base.py first.", err=True)
        raise typer.Exit(2)
    folders = {BASE.name: base} | {path.name: path for path in sorted((HERE / "experts").iterdir()) if path.is_dir()}
    for name, folder in folders.items():
        try:
            count = upload_folder(open_store(uri), folder, name)
        except CycleQDError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        typer.echo(f"{uri.rstrip('/')}/{name}: {count} files")


if __name__ == "__main__":
    typer.run(main)
