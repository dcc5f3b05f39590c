"""Where models come from: the base model and the experts."""

from __future__ import annotations

from pydantic import Field

from cycleqd.api.base import ApiModel, Name, Uri


class ModelSource(ApiModel):
    """A Hugging Face checkpoint: a folder with config.json, tokenizer and safetensors shards."""

    uri: Uri
    """Where the model is: ``hf://ORG/NAME``, ``s3://BUCKET/PREFIX``, ``file://PATH`` or a path beside the manifest."""
    revision: str | None = Field(default=None, max_length=100)
    """Branch, tag or commit of an ``hf://`` model; ignored elsewhere."""
    credentials_secret_name: str | None = None
    """Secret with HF_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the storage's if unset."""


class Expert(ModelSource):
    """A fine-tuned version of the base model: a full checkpoint or a PEFT LoRA adapter."""

    name: Name
    """Name by which tasks and reports refer to this expert."""
