"""What an S3 server's and boto's errors mean: one table of codes, and one sentence for each meaning.

Everything that can be raised while :mod:`cycleqd.store.s3` talks to a server is translated here. Servers name the same
trouble differently, and an answer to HEAD has no body: then the HTTP status is all there is.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    FlexibleChecksumError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
    TokenRetrievalError,
)

from cycleqd.errors import (
    AccessDenied,
    BadManifest,
    CycleQDError,
    MissingInput,
    MissingObject,
    NoSpace,
    PermanentError,
    StoreUnreachable,
    UnsupportedHere,
)

CONNECT_SECONDS = 5
READ_SECONDS = 60

_SENTENCES: Final[dict[type[CycleQDError], str]] = {
    AccessDenied: (
        "{where} refused access to {key} ({reason}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or allow "
        "their owner s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket."
    ),
    MissingObject: "{where} has no object {key}: check the URI and whether it was written.",
    NoSpace: "{where} has no room left for {key} ({reason}): free space or raise the quota, then run it again.",
    StoreUnreachable: "{where} could not answer ({reason}): look at the server's log, or run it again later.",
    UnsupportedHere: "{where} lacks a part of S3 that is needed ({reason}): use a newer or another server.",
    PermanentError: "{where} refused the request for {key} ({reason}): correct what it objects to.",
}
_NO_BUCKET: Final = "{where} has no such bucket ({reason}): create it, or correct storage.uri."
_ELSEWHERE: Final = "{where} lies in another region ({reason}): correct AWS_DEFAULT_REGION."

_CODES: Final[dict[type[CycleQDError], str]] = {
    MissingObject: "404 NoSuchKey NotFound",
    AccessDenied: """401 403 AccessDenied AccountProblem AllAccessDisabled AuthorizationQueryParametersError
        ExpiredToken Forbidden InvalidAccessKeyId InvalidClientTokenId InvalidToken RequestTimeTooSkewed
        SignatureDoesNotMatch Unauthorized XAdminUserNotFound""",
    NoSpace: "507 InsufficientStorage QuotaExceeded StorageFull XMinioStorageFull XMinioStorageQuotaExceeded",
    UnsupportedHere: "405 501 MethodNotAllowed NotImplemented",
    StoreUnreachable: """409 429 500 502 503 504 BadDigest ConditionalRequestConflict InternalError OperationAborted
        RequestTimeout RequestTimeoutException ServiceUnavailable SlowDown Throttling ThrottlingException
        TooManyRequests XAmzContentSHA256Mismatch""",
}
_NO_BUCKET_CODES: Final = frozenset({"InvalidBucketName", "NoSuchBucket"})
_ELSEWHERE_CODES: Final = frozenset(
    {"301", "307", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
_BY_CODE: Final = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

_CREDENTIAL_ERRORS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError)


def code_of(error: BaseException) -> str:
    """Return the server's code of an error, its HTTP status where it gave none, or "" for what is no answer."""
    if not isinstance(error, ClientError):
        return ""
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return str(error.response.get("Error", {}).get("Code") or status)


def translate(error: Exception, where: str, key: str = "") -> CycleQDError:
    """Return the error of the tree.

    Args:
        error: what boto3 or botocore raised.
        where: ``The store s3://BUCKET/PREFIX at ENDPOINT``.
        key: the object that was asked for, if any.
    """
    if isinstance(error, ClientError):
        return _answer(error, where, key)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return AccessDenied(
            f"{where} needs credentials, but {_one_line(error)}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if isinstance(error, FlexibleChecksumError):
        return StoreUnreachable(f"{where} sent {key} with a wrong checksum ({_one_line(error)}): run it again.")
    if isinstance(error, ParamValidationError):
        return BadManifest(f"{where} cannot be asked ({_one_line(error)}): correct storage.uri.")
    if isinstance(error, SSLError) and not any(isinstance(link, ssl.SSLEOFError) for link in _chain(error)):
        return StoreUnreachable(
            f"{where} has a certificate or protocol that was not accepted ({_one_line(error)}): set AWS_CA_BUNDLE, or "
            "correct AWS_ENDPOINT_URL."
        )
    return StoreUnreachable(f"{where} cannot be reached ({_reason(error)}): start it, or correct AWS_ENDPOINT_URL.")


def _answer(error: ClientError, where: str, key: str) -> CycleQDError:
    """Translate what the server said."""
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    code = code_of(error)
    if code in _NO_BUCKET_CODES:
        kind_of_name = BadManifest if code == "InvalidBucketName" else MissingInput  # no bucket can have such a name
        return kind_of_name(_NO_BUCKET.format(where=where, reason=code))
    if code in _ELSEWHERE_CODES:
        return BadManifest(_ELSEWHERE.format(where=where, reason=code))
    kind = _BY_CODE.get(code)
    if kind is None:
        # A code that we do not know says more than 404 does: some servers answer 404 to a user whom they do not know.
        kind = PermanentError if status == "404" else _BY_CODE.get(status, PermanentError)
    message = error.response.get("Error", {}).get("Message", "")
    reason = f"{code} {message}".strip().rstrip(".") if kind is PermanentError else code
    return kind(_SENTENCES[kind].format(where=where, key=key or "its keys", reason=reason))


def _reason(error: BaseException) -> str:
    """Say in a few words why there was no answer."""
    if isinstance(error, ConnectTimeoutError):
        return f"no connection within {CONNECT_SECONDS} s"
    if isinstance(error, ReadTimeoutError):
        return f"no answer within {READ_SECONDS} s"
    for link in _chain(error):
        if isinstance(link, ssl.SSLEOFError):
            return "the connection was cut"
        if isinstance(link, socket.gaierror):
            return "unknown host name"
        if isinstance(link, OSError) and link.strerror:
            return link.strerror.lower()
    return _one_line(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]


BOTO_ERRORS: Final = (BotoCoreError, ClientError)
"""What calls into boto3 raise on purpose."""
