"""What BigQuery refuses, in one line: answers of the documented shape from a stand-in HTTP server.

https://cloud.google.com/bigquery/docs/error-messages
"""

import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

import grpc
import pytest
from google.cloud.bigquery_storage_v1.services.big_query_read import transports

from data_engineering import bigquery_client
from data_engineering.bigquery_table import find
from data_engineering.errors import DataError, Unavailable
from data_engineering.schema import COLUMNS
from data_engineering.source import extract
from tests.bigquery import service, storage_proxy
from tests.bigquery.storage_api.sitecustomize import redirect

PATIENCE = bigquery_client.PATIENCE
SOURCE = "bigquery://cloud.ds.census"
TABLE = "/bigquery/v2/projects/cloud/datasets/ds/tables/census"
JOBS = "/bigquery/v2/projects/emulated/jobs"
QUERIES = "/bigquery/v2/projects/emulated/queries/"
FIELDS = [{"name": name, "type": "INTEGER" if kind is int else "STRING"} for name, kind in COLUMNS.items()]
CENSUS = {
    "tableReference": {"projectId": "cloud", "datasetId": "ds", "tableId": "census"},
    "schema": {"fields": FIELDS},
    "numRows": "4",
    "type": "TABLE",
    "lastModifiedTime": "1700000000000",
    "location": "EU",
}
TOKEN = {
    "access_token": "t",
    "expires_in": 3600,
    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "token_type": "Bearer",
}


def refusal(code, reason, message):
    return code, {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}


class StandIn:
    """A server whose answers a test writes down: a list for each path, the last one again and again."""

    def __init__(self):
        self.answers = {"/token": [(200, TOKEN)]}
        self.asked = []

    def answer(self, path, body, reply):
        self.asked.append((path, body))
        known = next((key for key in self.answers if path == key or (key.endswith("/") and path.startswith(key))), None)
        if not known:
            return reply(*refusal(404, "notFound", f"Not found: {path}"))
        queue = self.answers[known]
        found = queue.pop(0) if len(queue) > 1 else queue[0]
        return found(body, reply) if callable(found) else reply(*found)


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """Give a stand-in that the real client library speaks to; it is tried for a second, not for forty.

    Its Storage Read API lets nobody in, so that REST is what is read through.
    """
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            at, said = urlparse(self.path), json.loads(body) if body.startswith(b"{") else {}
            stand_in.answer(at.path, {**said, "asked": at.query}, self._reply)

        def _reply(self, code, answer):
            if code == 0:  # the line goes dead
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            text = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

        do_GET = do_POST = _answer  # noqa: N815  as http.server names them

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # else its end takes half a second
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "emulated")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service.identity(tmp_path, f"{address}/token")))
    monkeypatch.setattr(bigquery_client, "PATIENCE", 1.0)
    with storage_proxy.running("nowhere") as (storage, at):
        storage.refusals["CreateReadSession"] = grpc.StatusCode.PERMISSION_DENIED, "not for you"
        monkeypatch.setattr(*redirect(transports.grpc, at))
        yield stand_in
    server.shutdown()
    server.server_close()


def job(body, size=1_000, error=None):
    """Return a job resource as `jobs.insert` answers."""
    dry = body.get("configuration", {}).get("dryRun", False)
    status = {"state": "DONE", **({"errorResult": error, "errors": [error]} if error else {})}
    reference = body.get("jobReference", {"projectId": "emulated", "jobId": "j"})
    table = {"projectId": "emulated", "datasetId": "_anon", "tableId": "result"}
    configuration = body.get("configuration", {"query": {}})
    configuration["query"]["destinationTable"] = table
    return {
        "jobReference": {**reference, "location": "EU"},
        "configuration": configuration,
        "status": status,
        "statistics": {"query": {"totalBytesProcessed": str(size), "totalBytesBilled": "0" if dry else str(size)}},
    }


def readable(cloud, size=1_000):
    """Let the stand-in hold the census table and take queries on it."""
    cloud.answers[TABLE] = [(200, CENSUS)]
    cloud.answers[JOBS] = [lambda body, reply: reply(200, job(body, size))]


def test_no_credentials(settings, monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    message = "^BigQuery: no Google Cloud credentials: run `gcloud auth application-default login`, or set GOOGLE_"
    with pytest.raises(DataError, match=message):
        extract(settings, "run", SOURCE)


def test_no_project(settings, cloud, monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    with pytest.raises(DataError, match=r"^BigQuery: no project to run jobs in: set GOOGLE_CLOUD_PROJECT$"):
        extract(settings, "run", SOURCE)


def test_credentials_that_have_expired(settings, cloud):
    cloud.answers["/token"] = [(400, {"error": "invalid_grant", "error_description": "Token has expired"})]
    with pytest.raises(
        DataError, match=r"the Google Cloud credentials are expired or wrong: .*Token has expired.*run `g"
    ):
        extract(settings, "run", SOURCE)


def test_credentials_that_are_not_known(settings, cloud):
    cloud.answers[TABLE] = [refusal(401, "authError", "Request had invalid authentication credentials.")]
    with pytest.raises(
        DataError, match=r"^cloud\.ds\.census: the Google Cloud credentials are expired or wrong: Request"
    ):
        extract(settings, "run", SOURCE)


@pytest.mark.parametrize(
    ("what", "role"),
    [
        ("Project emulated: bigquery.readsessions.create denied", "roles/bigquery.readSessionUser on the project"),
        ("Table cloud:ds.census: User does not have permission to query table", "roles/bigquery.dataViewer"),
        ("Dataset cloud:ds: Permission bigquery.datasets.get denied", "roles/bigquery.dataViewer"),
        (
            "Project emulated: User does not have bigquery.jobs.create permission",
            "roles/bigquery.jobUser on the project",
        ),
    ],
)
def test_permission_denied(settings, cloud, what, role):
    readable(cloud)
    at = JOBS if "jobs.create" in what else TABLE
    cloud.answers[at] = [refusal(403, "accessDenied", f"Access Denied: {what}")]
    with pytest.raises(DataError, match=f"permission denied: Access Denied: {re.escape(what)}: grant {role}"):
        extract(settings, "run", SOURCE)


@pytest.mark.parametrize("what", ["Table cloud:ds.census", "Dataset cloud:ds"])
def test_a_table_or_dataset_that_is_not_there(settings, cloud, what):
    cloud.answers[TABLE] = [refusal(404, "notFound", f"Not found: {what}")]
    with pytest.raises(DataError, match=rf"^cloud\.ds\.census: Not found: {what}: correct the name, or create it"):
        extract(settings, "run", SOURCE)


def test_a_wrong_location(settings, cloud):
    readable(cloud)
    cloud.answers[JOBS] = [refusal(404, "notFound", "Not found: Dataset cloud:ds was not found in location US")]
    message = "was not found in location US: correct the name, or set DATA_BIGQUERY_LOCATION to where the data lies$"
    with pytest.raises(DataError, match=message):
        extract(settings, "run", SOURCE)


def test_the_location_is_that_of_the_setting(settings, cloud):
    readable(cloud, size=2**40)
    with pytest.raises(DataError):
        extract(settings.model_copy(update={"bigquery_location": "EU"}), "run", SOURCE)
    (body,) = [body for path, body in cloud.asked if path == JOBS]
    assert body["jobReference"]["location"] == "EU"


def test_a_read_that_costs_too_much_is_refused_after_the_dry_run(settings, cloud, caplog):
    caplog.set_level("INFO")
    readable(cloud, size=2**30 + 1)
    message = (
        "^bigquery://cloud.ds.census: would process 1,073,741,825 bytes, and DATA_MAX_BYTES_BILLED allows 1,073,741,824"
        ": raise it, or read a smaller table$"
    )
    with pytest.raises(DataError, match=message):
        extract(settings, "run", SOURCE)
    assert [body["configuration"]["dryRun"] for path, body in cloud.asked if path == JOBS] == [True]
    assert "1,073,741,825 bytes to be processed, limit 1,073,741,824" in caplog.text
    assert not list(settings.lake.glob("staging/*/manifest.json"))


def test_a_job_has_labels_and_the_limit(settings, cloud):
    readable(cloud)
    error = {"reason": "bytesBilledLimitExceeded", "message": "Query exceeded limit for bytes billed: 1. 10 or higher."}
    cloud.answers[JOBS].insert(0, lambda body, reply: reply(200, job(body)))
    cloud.answers[JOBS][1] = lambda body, reply: reply(200, job(body, error=error))
    cloud.answers[JOBS + "/"] = [(200, job({}, error=error))]
    cloud.answers[QUERIES] = [refusal(400, error["reason"], error["message"])]
    with pytest.raises(
        DataError, match=r"exceeded limit for bytes billed: 1\. 10 or higher: raise DATA_MAX_BYTES_BILLED"
    ):
        extract(settings, "run", SOURCE)
    dry, real = [body["configuration"] for path, body in cloud.asked if path == JOBS]
    labels = {"application": "census_pipelines", "area": "data_engineering"}
    assert (dry["labels"], real["labels"]) == (labels, labels)
    assert real["query"]["maximumBytesBilled"] == str(settings.max_bytes_billed)


@pytest.mark.parametrize(
    ("code", "reason"), [(403, "quotaExceeded"), (403, "rateLimitExceeded"), (429, "rateLimitExceeded")]
)
def test_a_quota_is_tried_again_and_then_said(settings, cloud, code, reason):
    cloud.answers[TABLE] = [refusal(code, reason, "Exceeded rate limits: too many api requests per user")]
    message = "a quota or rate limit is reached, also after several tries: Exceeded rate limits: .*: try later$"
    with pytest.raises(Unavailable, match=message):
        extract(settings, "run", SOURCE)
    assert len([path for path, _ in cloud.asked if path == TABLE]) >= 2


def test_a_quota_that_passes_is_not_noticed(settings, cloud):
    cloud.answers[TABLE] = [refusal(403, "quotaExceeded", "Quota exceeded"), (200, CENSUS)]
    assert find(bigquery_client.connect(settings), SOURCE, None).rows == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([*FIELDS[1:]], "column age is missing"),
        ([*FIELDS, {"name": "extra", "type": "STRING"}], "unknown column 'extra': remove it, or set DATA_KEY_COLUMN"),
        ([{"name": "age", "type": "FLOAT"}, *FIELDS[1:]], "column age has type FLOAT, not INT64: cast it in a view"),
        ([{"name": "age", "type": "INTEGER", "mode": "REPEATED"}, *FIELDS[1:]], "column age has type REPEATED INTEGER"),
    ],
)
def test_a_schema_that_changed_at_the_source(settings, cloud, changed, message):
    cloud.answers[TABLE] = [(200, {**CENSUS, "schema": {"fields": changed}})]
    with pytest.raises(DataError, match=rf"^bigquery://cloud\.ds\.census: {message}"):
        extract(settings, "run", SOURCE)


def test_a_schema_that_changes_while_it_is_read(settings, cloud):
    readable(cloud)
    cloud.answers[JOBS] = [refusal(400, "invalidQuery", "Unrecognized name: `age` at [1:8]")]
    with pytest.raises(
        DataError, match=r"Unrecognized name: `age` at .*: the table's columns changed while it was read"
    ):
        extract(settings, "run", SOURCE)


def page(rows, token=None):
    values = {"age": "39", **{name: "1" if kind is int else "x" for name, kind in COLUMNS.items() if name != "age"}}
    return {"rows": [{"f": [{"v": value} for value in values.values()]}] * rows, "pageToken": token, "totalRows": "4"}


def test_a_connection_that_is_lost_in_the_middle_leaves_nothing_and_is_tried_again(settings, cloud):
    readable(cloud)
    done = {"jobComplete": True, "schema": {"fields": FIELDS}, "jobReference": {"projectId": "emulated", "jobId": "j"}}
    first, second = (200, done | page(2, "next")), [(0, None)]

    def answered(body, reply):
        reply(*(second[0] if "pageToken" in body["asked"] else first))

    cloud.answers[JOBS + "/"] = [(200, job({}))]
    cloud.answers[QUERIES] = [answered]
    cloud.answers["/bigquery/v2/projects/emulated/datasets/_anon/tables/result/data"] = [answered]
    with pytest.raises(
        Unavailable, match=r"^bigquery://cloud\.ds\.census: BigQuery does not answer, or the connection"
    ):
        extract(settings, "run", SOURCE)
    assert not list(settings.lake.glob("staging/*/*"))
    second[0] = (200, done | page(2))
    batch = extract(settings, "run", SOURCE)
    assert json.loads((settings.lake / "staging" / batch / "manifest.json").read_text())["rows"] == 4


def test_a_dead_endpoint_fails_within_a_minute(settings, cloud, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{gone.getsockname()[1]}")
    began = time.monotonic()
    with pytest.raises(
        Unavailable, match=r"^cloud\.ds\.census: BigQuery does not answer, or the connection was lost: "
    ):
        extract(settings, "run", SOURCE)
    assert time.monotonic() - began < 60


def test_an_upload_that_is_never_answered_ends(settings, cloud, monkeypatch, tmp_path):
    monkeypatch.setattr(bigquery_client, "ANSWER", 0.5)
    cloud.answers["/upload/"] = [lambda *_: time.sleep(5)]
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"PAR1")
    client = bigquery_client.connect(settings)
    began = time.monotonic()
    with pytest.raises(
        Unavailable, match=r"^emulated\.ds\.raw: BigQuery does not answer, or the connection was lost: "
    ):
        client.load(file, "emulated.ds.raw", {"age": "INT64"})
    assert time.monotonic() - began < 4
    assert len([path for path, _ in cloud.asked if path.startswith("/upload/")]) <= 1 + bigquery_client.UPLOAD_RETRIES


@pytest.mark.sweep
def test_a_dead_endpoint_fails_within_a_minute_with_the_patience_of_a_run(settings, cloud, monkeypatch):
    monkeypatch.setattr(bigquery_client, "PATIENCE", PATIENCE)
    test_a_dead_endpoint_fails_within_a_minute(settings, cloud, monkeypatch)


@pytest.mark.parametrize("address", ["bigquery://a.b", "bigquery://a.b.c.d", "bigquery://a..c", "bigquery://a.b.c`"])
def test_an_address_of_another_shape(settings, address):
    message = f"^{re.escape(address)}: not a BigQuery address: write bigquery://project.dataset.table$"
    with pytest.raises(DataError, match=message):
        extract(settings, "run", address)
