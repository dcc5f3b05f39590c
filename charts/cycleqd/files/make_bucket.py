"""Makes the bucket of an S3 URI, its one argument, unless it is there; runs in the image of the operator."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

# The server starts at the same time; the Job repeats what does not help within a minute.
store = boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 8}))
bucket = urlsplit(sys.argv[1]).netloc
try:
    store.create_bucket(Bucket=bucket)
except store.exceptions.BucketAlreadyOwnedByYou:
    print(f"Bucket {bucket} was there.")
else:
    print(f"Made bucket {bucket}.")
