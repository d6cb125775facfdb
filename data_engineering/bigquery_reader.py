"""A client of BigQuery's Storage Read API that gives up in time: Google's asks for a lost stream again for a day."""

from typing import Any

from google.api_core.retry import Retry
from google.auth.credentials import Credentials
from google.cloud.bigquery_storage import BigQueryReadClient

# Milliseconds: a line that went dead without a word is noticed by a ping that nobody answers, and so is a new one.
NAMES = ("keepalive_time", "keepalive_timeout", "http2.ping_timeout", "min_reconnect_backoff")
KEEPALIVE = {f"grpc.{name}_ms": 10_000 for name in NAMES}


class Reader(BigQueryReadClient):
    """Asks for sessions, and for the rest of streams that were lost, again as `retry` says.

    `answer` is how many seconds a session may take to be opened; a stream may last.
    """

    def __init__(self, credentials: Credentials, retry: Retry, answer: float) -> None:
        super().__init__(credentials=credentials, transport=_with_keepalive)  # type: ignore[no-untyped-call]
        self._patience, self._answer = retry, answer

    def create_read_session(self, *arguments: Any, **given: Any) -> Any:
        """Return a new session: which streams a table can be read by."""
        given |= {"retry": self._patience, "timeout": self._answer}
        return super().create_read_session(*arguments, **given)

    def read_rows(self, name: str, **given: Any) -> Any:  # type: ignore[override]
        """Return the rows of a stream, which begin after those that were read when it is lost and found again."""
        return super().read_rows(name, **(given | {"retry": self._patience}))  # type: ignore[no-untyped-call]


def _with_keepalive(**given: Any) -> Any:
    transport: Any = BigQueryReadClient.get_transport_class("grpc")

    def channel(*arguments: Any, options: Any = (), **named: Any) -> Any:
        return transport.create_channel(*arguments, options=[*options, *KEEPALIVE.items()], **named)

    return transport(channel=channel, **given)
