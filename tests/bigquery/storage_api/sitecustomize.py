"""For programs that tests start: leads Google's client of the Storage Read API, which knows no emulator, to one.

The library is patched as it is imported, for few programs do so and it takes its time.
"""

import importlib.abc
import importlib.util
import os
import sys

LIBRARY = "google.cloud.bigquery_storage_v1.services.big_query_read.transports.grpc"


def redirect(library, address):
    """Return what makes the library's channels lead to `address`, without encryption."""
    import grpc

    def channel(*_, options=(), **__):
        return grpc.insecure_channel(address, options=[*(options or ()), ("grpc.max_receive_message_length", -1)])

    return library.BigQueryReadGrpcTransport, "create_channel", staticmethod(channel)


class Redirecting(importlib.abc.MetaPathFinder):
    """Finds nothing but the library, once."""

    def find_spec(self, name, *_):
        """Return the library's own spec, which patches what it has loaded."""
        if name != LIBRARY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_patch(module):
            load(module)
            setattr(*redirect(module, os.environ["BIGQUERY_STORAGE_EMULATOR"]))

        spec.loader.exec_module = load_and_patch
        return spec


if "BIGQUERY_STORAGE_EMULATOR" in os.environ:
    sys.meta_path.insert(0, Redirecting())
