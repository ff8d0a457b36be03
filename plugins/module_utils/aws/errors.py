# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What boto3 raises, as one sentence that names the thing, the reason and the way out.

Exceptions are told apart by their class name and their ``response``, so that this file needs no boto3.
"""

from __future__ import annotations

from typing import Any

# IAM's prefix of a service, where it is not boto3's name of it
_IAM_PREFIX = {"elbv2": "elasticloadbalancing", "elb": "elasticloadbalancing"}

DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "UnauthorizedAccess"}
)
BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
# Classes of botocore's for credentials that a provider could not get just now
_NO_CREDENTIALS_NOW = frozenset(
    {
        "CredentialRetrievalError",
        "MetadataRetrievalError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
# "Try again" in AWS's words: nothing is wrong with the request
BUSY = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "ResourceContention",
        "ScalingActivityInProgress",
        "ServiceUnavailable",
        "Unavailable",
    }
)
# The endpoint does not have the operation at all, as with emulations of AWS
UNKNOWN_OPERATION = frozenset({"InvalidAction", "UnknownOperationException", "NotImplemented", "UnsupportedOperation"})
_NO_SUCH_THING = (404, 405, 501)  # HTTP's words for the same

_CONNECTION_CLASSES = frozenset(
    {
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "ResponseStreamingError",
        "SSLError",
    }
)


class AwsError(Exception):
    """Why AWS could not be asked or did not do it. ``str()`` is for people.

    ``code`` is AWS's own ("" when the call never got an answer), ``operation`` the call ("" before any).
    """

    def __init__(self, message: str, *, code: str = "", operation: str = "", text: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.operation = operation
        self.text = text or message  # AWS's own words
        self.status = status

    @property
    def throttled(self) -> bool:
        """Refused for the rate alone, so certainly not done."""
        return self.code in THROTTLED

    @property
    def busy(self) -> bool:
        """AWS says to try again."""
        return (self.code in BUSY or self.status >= 500) and not self.not_offered

    @property
    def not_offered(self) -> bool:
        """The endpoint does not know the operation, or what it knows of it is no answer of AWS's."""
        return self.code in UNKNOWN_OPERATION or self.status in _NO_SUCH_THING

    @property
    def denied(self) -> bool:
        return self.code in DENIED

    @property
    def expired(self) -> bool:
        """The credentials had expired when AWS looked at them."""
        return self.code in EXPIRED


class NoCredentialsNowError(AwsError):
    """The provider of the credentials failed, so the call was not made. It may succeed a little later."""


class UnansweredError(AwsError):
    """The connection failed: whether the call was carried out is not known."""


class UnreadableError(UnansweredError):
    """What answered did not speak AWS's language: a proxy's page, or an emulation that failed at it."""

    @property
    def not_offered(self) -> bool:
        return True


def explain(exc: BaseException, *, service: str = "", operation: str = "", doing: str = "") -> AwsError:
    """The exception as an AwsError.

    ``doing`` says what was being done ("describe the group web"); without it the operation's name stands there.
    """
    if isinstance(exc, AwsError):
        return exc
    name = type(exc).__name__
    what = doing or operation
    prefix = f"cannot {what}: " if what else ""
    response: Any = getattr(exc, "response", None)
    if isinstance(response, dict) and "Error" in response:
        return _refused(response, service, operation or getattr(exc, "operation_name", ""), prefix)
    if name in _NO_CREDENTIALS_NOW:
        return NoCredentialsNowError(
            f"{prefix}the AWS credentials could not be fetched ({_one_line(exc)}): look at what provides them, "
            "or log in again",
            operation=operation,
        )
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return AwsError(
            f"{prefix}no AWS credentials were found: set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or the options profile or access_key and secret_key",
            operation=operation,
        )
    if name in ("NoRegionError", "NoRegionException"):
        return AwsError(f"{prefix}no region is known: set the option region or AWS_REGION", operation=operation)
    if name == "ProfileNotFound":
        return AwsError(f"{prefix}{exc}: name one that ~/.aws/config has", operation=operation)
    if name == "ResponseParserError":
        reason = _one_line(exc)
        return UnreadableError(
            f"{prefix}the answer is not one of AWS's ({reason[:200]}): check endpoint_url or AWS_ENDPOINT_URL",
            operation=operation,
            text=reason,
        )
    if isinstance(exc, NotImplementedError):
        return AwsError(f"{prefix}the endpoint does not have {what}", code="NotImplemented", operation=operation)
    if name in _CONNECTION_CLASSES or isinstance(exc, (ConnectionError, TimeoutError)):
        reason = _one_line(exc)
        return UnansweredError(
            f"{prefix}AWS did not answer ({reason}): check the network, the region and endpoint_url "
            "or AWS_ENDPOINT_URL",
            operation=operation,
            text=reason,
        )
    return AwsError(f"{prefix}{_one_line(exc)}", operation=operation)


def _refused(response: dict[str, Any], service: str, operation: str, prefix: str) -> AwsError:
    error = response.get("Error") or {}
    code = str(error.get("Code") or "")
    text = " ".join(str(error.get("Message") or code or "no reason given").split())
    status = int((response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    if code in DENIED:
        action = iam_action(service, operation)
        message = f"{prefix}the credentials lack the permission {action}: allow it in their IAM policy ({text})"
    elif code in BAD_CREDENTIALS:
        message = f"{prefix}AWS does not accept the credentials ({code}: {text}): renew them"
    else:
        message = f"{prefix}{text} ({code})" if code and code not in text else f"{prefix}{text}"
    return AwsError(message, code=code, operation=operation, text=text, status=status)


def iam_action(service: str, operation: str) -> str:
    """The IAM action that allows an operation of a boto3 client."""
    return f"{_IAM_PREFIX.get(service, service) or '*'}:{operation or '*'}"


def _one_line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return text or type(exc).__name__
