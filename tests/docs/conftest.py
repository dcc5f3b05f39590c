"""What tests of the pages share with those of the runner."""

from tests.runner.conftest import s3_bucket

__all__ = ["s3_bucket"]
