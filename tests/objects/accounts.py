"""Service accounts of Google Cloud, as a program sees them: keys that are made here, and a server that takes them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

TOKEN = {"access_token": "emulated", "expires_in": 3600, "token_type": "Bearer"}


def key(name: str, token_uri: str) -> dict[str, str]:
    """Return a key of the account `name`, as its file has it."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "emulated",
        "private_key_id": name,
        "private_key": text.decode(),
        "client_email": email(name),
        "client_id": "1",
        "token_uri": token_uri,
    }


def email(name: str) -> str:
    """Return the address of the account `name`."""
    return f"{name}@emulated.iam.gserviceaccount.com"


@contextmanager
def tokens() -> Iterator[tuple[str, set[str]]]:
    """Give the address of a server that lets every account in, and the addresses of those that have asked."""
    asked: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            asked.add(jwt.decode(form["assertion"][0], verify=False)["iss"])
            answer = json.dumps(TOKEN).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
