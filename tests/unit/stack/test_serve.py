"""Who has not the token is not answered by the scoring server."""

import asyncio
from typing import Any

import pytest

from stack.serve import Token


def status(path: str, *headers: tuple[bytes, bytes]) -> int:
    """Return with what HTTP status a request is answered; 200 if it reaches the server behind."""
    sent: list[dict[str, Any]] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": list(headers)}
    asyncio.run(Token(behind, "right")(scope, None, send))  # type: ignore[arg-type]
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/invocations", "/", "/docs", "/openapi.json", "/version", "/ping/../invocations"])
@pytest.mark.parametrize(
    "value", [None, b"", b"right", b"Bearer wrong", b"Bearer righ", b"Bearer right ", b"Basic right"]
)
def test_without_the_token_nothing_is_answered(path, value):
    headers = [] if value is None else [(b"authorization", value)]
    assert status(path, *headers) == 401


def test_with_the_token_all_is():
    assert status("/invocations", (b"authorization", b"Bearer right")) == 200


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_health_is_for_everybody(path):
    assert status(path) == 200
