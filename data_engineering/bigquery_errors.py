"""What BigQuery and its client say in many ways, as one line that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core import exceptions
from google.auth import exceptions as auth

from data_engineering.errors import DataError, Unavailable

SIGN_IN = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
LOST = (auth.TransportError, requests.RequestException, ConnectionError, exceptions.ServerError, exceptions.RetryError)
# https://cloud.google.com/bigquery/docs/error-messages
# The client makes a server's error of each reason that it does not know.
SERVERS_OWN = {
    "",
    "backendError",
    "internalError",
    "jobBackendError",
    "jobInternalError",
    "stopped",
    "tableUnavailable",
}
LIMITS = {"quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded"}


def reason(error: BaseException) -> str:
    """Return BigQuery's word for an error, such as `accessDenied`; empty if there is none."""
    details = getattr(error, "errors", None) or [{}]
    return str(details[0].get("reason", "")) if isinstance(details[0], dict) else ""


def transient(error: BaseException) -> bool:
    """Return whether another try a little later may do."""
    if isinstance(error, exceptions.ServerError) and reason(error) not in SERVERS_OWN | LIMITS:
        return False
    return isinstance(error, (*LOST, exceptions.TooManyRequests)) or reason(error) in LIMITS


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn errors of the block into one line that begins with `what`.

    Raises:
        DataError: it stays so until somebody does what the line says.
        Unavailable: another try may do.
    """
    try:
        yield
    except exceptions.RetryError as error:
        raise explanation(what, error.cause or error) from None
    except (exceptions.GoogleAPICallError, auth.GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise explanation(what, error) from None


def explanation(what: str, error: BaseException) -> Exception:
    """Return an error of ours, DataError or Unavailable, whose one line begins with `what`."""
    said = _said(error)
    if reason(error) in LIMITS or isinstance(error, exceptions.TooManyRequests):
        return Unavailable(f"{what}: a quota or rate limit is reached, also after several tries: {said}: try later")
    if transient(error):
        return Unavailable(f"{what}: BigQuery does not answer, or the connection was lost: {said}: try again")
    return DataError(f"{what}: {_remedy(said, error)}")


def _remedy(said: str, error: BaseException) -> str:  # noqa: PLR0911  a table
    match error:
        case auth.DefaultCredentialsError():
            return f"no Google Cloud credentials: {SIGN_IN}"
        case auth.GoogleAuthError() | exceptions.Unauthorized():
            return f"the Google Cloud credentials are expired or wrong: {said}: {SIGN_IN}"
        case exceptions.Forbidden():
            return _forbidden(said, reason(error))
        case exceptions.NotFound() if " location " in said:
            return f"{said}: correct the name, or set DATA_BIGQUERY_LOCATION to where the data lies"
        case exceptions.NotFound():
            return f"{said}: correct the name, or create it (docs/bigquery.md)"
        case exceptions.GoogleAPICallError() if "bytes billed" in said:
            return f"{said}: raise DATA_MAX_BYTES_BILLED, or read a smaller table"
        case exceptions.BadRequest() if "Unrecognized name" in said or "schema" in said.lower():
            return f"{said}: the table's columns changed while it was read: run it again"
        case _:
            return f"BigQuery refused: {said}: see https://cloud.google.com/bigquery/docs/error-messages"


def _forbidden(said: str, why: str) -> str:
    if why == "billingNotEnabled":
        return f"{said}: enable billing for the project, or set GOOGLE_CLOUD_PROJECT to one that has it"
    if "it is disabled" in said:  # an API of the project; the message says where to enable it
        return said
    if "jobs.create" in said:
        return f"permission denied: {said}: grant roles/bigquery.jobUser on the project that runs the jobs"
    if "readsessions" in said:
        return f"permission denied: {said}: grant roles/bigquery.readSessionUser on the project that runs the jobs"
    return (
        f"permission denied: {said}: grant roles/bigquery.dataViewer where it reads, "
        "roles/bigquery.dataEditor on the warehouse's dataset"
    )


def _said(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or (error.args[0] if error.args else error))
    # The client puts the request in front; from `; reason:` on job errors say all of it once more.
    text = text.partition("prettyPrint=false: ")[2] or text
    text = re.split(r"; reason: |\s+Location: |\s+Job ID: ", text)[0]
    return " ".join(text.split()).rstrip(".:")[:400]
