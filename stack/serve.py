"""The champion by person id, behind a token: MLflow's scoring server, which knows no logins of its own."""

import hmac
import logging
import os
import time

import mlflow.pyfunc
import uvicorn
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = {"/ping", "/health"}
# The last is what MLflow says of a model that is not there to whoever is no admin.
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}
WAIT_SECONDS = 10

log = logging.getLogger("uvicorn.error")


class Token:
    """Lets a request pass that has the token, and those that ask for nothing but health."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to whoever has not the token."""
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        known = scope["type"] == "lifespan" or scope["path"] in OPEN or hmac.compare_digest(given, self.expected)
        refused = JSONResponse(
            {"error": "give the token: Authorization: Bearer …"}, 401, {"WWW-Authenticate": "Bearer"}
        )
        await (self.app if known else refused)(scope, receive, send)


def champion(name: str) -> mlflow.pyfunc.PyFuncModel:
    """Return the model's champion, as soon as there is one."""
    while True:
        try:
            version = MlflowClient().get_model_version_by_alias(name, "champion").version
            return mlflow.pyfunc.load_model(f"models:/{name}/{version}")
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            log.warning("no champion of %s yet (%s): train it first", name, error.message)
            time.sleep(WAIT_SECONDS)


def main() -> None:
    """Serve until stopped."""
    logging.basicConfig(level=logging.INFO)
    app = Token(scoring_server.init(champion(os.environ["SERVING_MODEL"])), os.environ["SERVING_TOKEN"])
    uvicorn.run(app, host="0.0.0.0", port=5002)  # noqa: S104  compose publishes it on loopback


if __name__ == "__main__":
    main()
