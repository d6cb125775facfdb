"""Stands between the client library and the emulator's Storage Read API, and does what networks and services do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import grpc
from google.cloud.bigquery_storage_v1 import types

SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryRead/"


class Proxy(grpc.GenericRpcHandler):
    """Passes calls on. `refusals` are what it answers instead to calls by name; `lost` streams end after one answer.

    `lost` is how many more streams are lost; the first stream of a session waits for the others if `first_is_last`.
    """

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.refusals: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.refused_from = 0  # the nth call of this name
        self.lost = 0
        self.first_is_last = False
        self.others: dict[str, Event] = {}
        self.sessions: list[types.ReadSession] = []
        self.reads: list[types.ReadRowsRequest] = []
        self.answers = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return what handles a call."""
        if handler_call_details.method.endswith("CreateReadSession"):
            return grpc.unary_unary_rpc_method_handler(self._session)
        return grpc.unary_stream_rpc_method_handler(self._rows)

    def _session(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._refused("CreateReadSession", len(self.sessions), context)
        answer: bytes = self.channel.unary_unary(SERVICE + "CreateReadSession")(request)
        self.sessions.append(types.ReadSession.deserialize(answer))
        self.others = {stream.name: Event() for stream in self.sessions[-1].streams[1:]}
        return answer

    def _rows(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = types.ReadRowsRequest.deserialize(request)
        self.reads.append(asked)
        self._refused("ReadRows", len(self.reads) - 1, context)
        if self.first_is_last and asked.read_stream not in self.others:
            for other in self.others.values():
                other.wait()
        call = self.channel.unary_stream(SERVICE + "ReadRows")(request)
        try:
            for answer in call:
                self.answers += 1
                yield answer
                if self.lost > 0:
                    self.lost -= 1
                    context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")
        finally:
            call.cancel()
        if done := self.others.get(asked.read_stream):
            done.set()

    def _refused(self, name: str, calls: int, context: grpc.ServicerContext) -> None:
        if name in self.refusals and calls >= self.refused_from:
            context.abort(*self.refusals[name])


@contextmanager
def running(address: str) -> Iterator[tuple[Proxy, str]]:
    """Give a proxy of the API at `address`, and its own address."""
    proxy, pool = Proxy(address), ThreadPoolExecutor(20, "proxy")
    server = grpc.server(pool, handlers=[proxy])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield proxy, f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        proxy.channel.close()
        pool.shutdown()
