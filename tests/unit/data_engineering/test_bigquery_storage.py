"""The Storage Read API: Google's client on the emulator, and between them a proxy that makes trouble."""

import errno
import re
import socket
import threading
import time
from contextlib import suppress

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import PermissionDenied
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_read import transports

from data_engineering import bigquery_client, bigquery_reader
from data_engineering.addresses import parts
from data_engineering.bigquery_check import check
from data_engineering.clean import clean
from data_engineering.errors import DataError, Unavailable
from data_engineering.lake import read_json, staged
from data_engineering.publish import publish
from data_engineering.schema import COLUMNS
from data_engineering.settings import Settings
from data_engineering.source import extract
from tests.bigquery import storage_proxy
from tests.bigquery.storage_api.sitecustomize import redirect

ROWS = 8_000
PATIENCE = bigquery_client.PATIENCE
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "the user does not have 'bigquery.readsessions.create' permission")
GONE = (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")


@pytest.fixture(scope="module")
def source(emulator, row, tmp_path_factory):
    """Return the address of a table of many rows."""
    path, name = tmp_path_factory.mktemp("many") / "raw.parquet", "bigquery-public-data.many_rows"
    ages = [17 + number % 80 for number in range(ROWS)]
    table = pa.Table.from_pylist([row(age=age, functional_weight=i) for i, age in enumerate(ages)])
    pq.write_table(table.select(list(COLUMNS)), path)
    bigquery.Client().create_dataset(name, exists_ok=True)
    kinds = {column: "INT64" if kind is int else "STRING" for column, kind in COLUMNS.items()}
    bigquery_client.connect(Settings(lake=path.parent)).load(path, f"{name}.census", kinds)
    return f"bigquery://{name}.census"


@pytest.fixture
def proxy(emulator, monkeypatch):
    """Give a proxy between the client library and the emulator; what is lost is tried again for a second."""
    with storage_proxy.running(emulator["BIGQUERY_STORAGE_EMULATOR"]) as (proxy, address):
        monkeypatch.setattr(*redirect(transports.grpc, address))
        monkeypatch.setattr(bigquery_client, "PATIENCE", 1.0)
        yield proxy


def raw(settings, batch):
    return pq.read_table(staged(settings.lake, batch, "raw.parquet"))


@pytest.fixture
def read(settings, source):
    """Return a reader of the table's rows into a lake."""

    def extracted(run="run"):
        table = raw(settings, extract(settings, run, source))
        assert table.num_rows == ROWS
        return table

    return extracted


@pytest.fixture(scope="module")
def by_rest(source, tmp_path_factory):
    """Return the table's rows as REST gives them, in its order."""
    service = bigquery_client.connect(Settings(lake=tmp_path_factory.mktemp("none")))
    name = ".".join(parts(source, "project.dataset.table"))
    return service.rows(f"SELECT {', '.join(COLUMNS)} FROM `{name}` ORDER BY functional_weight", name)


def in_order(table):
    return table.sort_by("functional_weight")


def test_rows_are_those_that_rest_gives(read, by_rest, proxy):
    assert in_order(read()).equals(by_rest)  # types too
    assert len(proxy.sessions[0].streams) == bigquery_client.STREAMS == len(proxy.reads)
    assert proxy.answers == ROWS / 500 == 2 * len(proxy.reads)


def test_the_order_in_which_streams_come_changes_nothing(settings, source, proxy, read, by_rest):
    proxy.first_is_last = True
    late = read()
    assert late["functional_weight"].to_pylist() != by_rest["functional_weight"].to_pylist()
    batch = extract(settings, "run", source)
    orderly = settings.model_copy(update={"lake": settings.lake.with_name("orderly")})
    pq.write_table(by_rest, settings.lake / "file.parquet")
    other = extract(orderly, "run", str(settings.lake / "file.parquet"))
    tables = [
        pq.read_table(staged(of.lake, clean(of, name), "clean.parquet"))
        for of, name in ((settings, batch), (orderly, other))
    ]
    assert tables[0].equals(tables[1])
    assert publish(settings, batch, None).partition("-")[2] == publish(orderly, other, None).partition("-")[2]
    proxy.first_is_last = False
    again = settings.model_copy(update={"lake": settings.lake.with_name("again")})
    manifests = [read_json(staged(of.lake, extract(of, "run", source), "manifest.json")) for of in (settings, again)]
    assert manifests[0]["sha256"] == manifests[1]["sha256"]


def test_streams_that_are_lost_go_on_where_they_were(proxy, read, by_rest):
    proxy.lost = 5
    assert in_order(read()).equals(by_rest)
    resumed = [asked.offset for asked in proxy.reads if asked.offset]
    assert len(resumed) == 5
    assert len(proxy.reads) == bigquery_client.STREAMS + 5


def check_nothing_is_left(settings):
    assert not list(settings.lake.glob("staging/*/*"))


def test_streams_that_stay_lost_leave_nothing_and_are_read_again_by_the_next_try(settings, source, proxy, read):
    proxy.lost, proxy.refused_from = 1, bigquery_client.STREAMS
    proxy.refusals["ReadRows"] = GONE
    began = time.monotonic()
    with pytest.raises(
        Unavailable, match=rf"^{source}: BigQuery does not answer, or the connection was lost: .*again$"
    ):
        extract(settings, "run", source)
    assert time.monotonic() - began < 60
    check_nothing_is_left(settings)
    proxy.refusals.clear()
    read()


def test_a_disk_that_fills_up_meanwhile_leaves_no_thread_that_waits(settings, source, proxy, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_batch", full)
        with pytest.raises(OSError, match="No space left") as failed:
            extract(settings, "run", source)
    deadline = time.monotonic() + 10

    def reading():
        return [one for one in {*threading.enumerate()} - before if one.name.startswith("ThreadPoolExecutor")]

    while reading() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not reading()
    assert failed.value.errno == errno.ENOSPC  # held until here, and with it all that its traceback holds
    check_nothing_is_left(settings)


@pytest.mark.sweep
def test_streams_that_stay_lost_fail_within_a_minute_with_the_patience_of_a_run(
    settings, source, proxy, read, monkeypatch
):
    monkeypatch.setattr(bigquery_client, "PATIENCE", PATIENCE)
    test_streams_that_stay_lost_leave_nothing_and_are_read_again_by_the_next_try(settings, source, proxy, read)


def test_an_endpoint_of_the_storage_api_that_is_dead(settings, source, proxy, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        monkeypatch.setattr(*redirect(transports.grpc, f"127.0.0.1:{gone.getsockname()[1]}"))
    with pytest.raises(Unavailable, match=rf"^{source}: BigQuery does not answer, or the connection was lost: "):
        extract(settings, "run", source)
    check_nothing_is_left(settings)


REFUSALS = [
    (DENIED[1], "grant roles/bigquery.readSessionUser on the project that runs the jobs"),
    ("BigQuery Storage API has not been used in project 1 before or it is disabled. Enable it by visiting", ""),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_without_the_permission_rows_come_through_rest_and_one_line_says_so(proxy, read, by_rest, caplog, refusal):
    message, remedy = refusal
    proxy.refusals["CreateReadSession"] = grpc.StatusCode.PERMISSION_DENIED, message
    assert in_order(read()).equals(by_rest)
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.fullmatch(f"bigquery://.*: .*{message}.*{remedy}; reading it through REST, which is slower", said)
    assert proxy.reads == []


def checked(settings, source):
    return [line.removeprefix(f"{source}: ") for line in check(settings.model_copy(update={"source": source}))]


def test_check_reads_a_row_as_a_run_does(settings, source, proxy):
    assert checked(settings, source)[-1] == "1 row read through the Storage Read API"
    assert len(proxy.sessions) == len(proxy.reads) == 1


@pytest.mark.parametrize("refusal", REFUSALS)
def test_check_warns_where_a_run_would_read_through_rest(settings, source, proxy, refusal):
    message, remedy = refusal
    proxy.refusals["CreateReadSession"] = grpc.StatusCode.PERMISSION_DENIED, message
    *_, read, warning = checked(settings, source)
    assert read == "1 row read through REST"
    assert re.fullmatch(f"warning: {source}: .*{message}.*{remedy}; a read into the lake goes through REST.*", warning)


def test_check_ends_where_feast_could_not_read(settings, dataset, proxy):
    """Feast has BigQuery's client read through the Storage Read API, and that falls back on nothing."""
    proxy.refusals["CreateReadSession"] = DENIED
    with pytest.raises(PermissionDenied):
        bigquery.Client().query("SELECT 1 AS one").to_arrow()
    place = dataset.removeprefix("bigquery://")
    message = rf"^{place}: permission denied: .*roles/bigquery.readSessionUser.*: Feast reads through the Storage Read"
    with pytest.raises(DataError, match=message):
        list(check(settings.model_copy(update={"warehouse": dataset})))
    assert not list(bigquery.Client().list_tables(place))


def test_check_ends_where_the_storage_api_does_not_answer(settings, source, proxy):
    proxy.refusals["CreateReadSession"] = GONE
    with pytest.raises(Unavailable, match=rf"^{source}: BigQuery does not answer, or the connection was lost: "):
        checked(settings, source)


def test_a_permission_that_is_taken_away_meanwhile_ends_the_read(settings, source, proxy):
    proxy.lost, proxy.refused_from = 1, bigquery_client.STREAMS
    proxy.refusals["ReadRows"] = DENIED[0], "Permission 'bigquery.readsessions.getData' denied on resource"
    with pytest.raises(DataError, match=r"permission denied: .*getData.*: grant roles/bigquery.readSessionUser on the"):
        extract(settings, "run", source)
    check_nothing_is_left(settings)


class Relay:
    """Passes on so many bytes of what a server answers, whatever the connection, and swallows the rest."""

    def __init__(self, address, answered):
        self.target, self.left = address.split(":"), answered
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):  # the test is over
            while True:
                client, _ = self.server.accept()
                server = socket.create_connection(self.target)
                threading.Thread(target=self.forward, args=(client, server, 0), daemon=True).start()
                threading.Thread(target=self.forward, args=(server, client, 1), daemon=True).start()

    def forward(self, source, target, counted):
        with suppress(OSError):
            while data := source.recv(4096):
                self.left -= counted * len(data)
                if self.left > 0:
                    target.sendall(data)
        source.close()
        target.close()


def test_a_line_that_goes_dead_without_a_word_is_noticed(settings, source, proxy, emulator, monkeypatch):
    """Like a router that forgot the connection: what is sent vanishes."""
    monkeypatch.setattr(bigquery_reader, "KEEPALIVE", dict.fromkeys(bigquery_reader.KEEPALIVE, 500))
    relay = Relay(emulator["BIGQUERY_STORAGE_EMULATOR"], answered=200_000)
    monkeypatch.setattr(*redirect(transports.grpc, relay.address))
    with relay.server, pytest.raises(Unavailable, match=rf"^{source}: BigQuery does not answer, or the connection was"):
        extract(settings, "run", source)
    assert relay.left < 0
    check_nothing_is_left(settings)
