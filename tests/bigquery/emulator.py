"""bqemulator 1.4.0 as a program, with cures for its defects; runs in its own environment, `.venv/.bqemulator`.

    python emulator.py --rest-port 9050 --grpc-port 9060 --log-level error

Each cure makes it answer as BigQuery's documentation says that the service does.
"""

import re
import sys
from functools import lru_cache

from bqemulator import server
from bqemulator.api.routes import upload
from bqemulator.cli import main
from bqemulator.grpc_api import read_servicer
from bqemulator.jobs import executor
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.streaming import read_session
from google.cloud.bigquery_storage_v1 import types
from sqlglot.dialects.dialect import Dialect

# Geography, which wants an extension from the network at each start; nothing here needs it.
DuckDBEngine._load_spatial = lambda _: None

# The client library sends small files in one request, with this type for their part.
upload._PERMITTED_MEDIA_CONTENT_TYPES = (*upload._PERMITTED_MEDIA_CONTENT_TYPES, "*/*")

# https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences: it does not know these.
ESCAPES = re.compile(r"(?<!\\)\\(?:x([0-9a-fA-F]{2})|([vf]))")


def _unescaped(found):
    return chr(int(found[1], 16)) if found[1] else {"v": "\v", "f": "\f"}[found[2]]


# It parses each statement some twenty times over; nested ones take seconds.
parse = Dialect.parse


@lru_cache(maxsize=256)
def _parsed(dialect, sql, options):
    return parse(dialect(), sql, **dict(options))


def _parsed_once(dialect, sql, **options):
    sql = ESCAPES.sub(_unescaped, sql)
    return [tree.copy() if tree else tree for tree in _parsed(type(dialect), sql, tuple(sorted(options.items())))]


Dialect.parse = _parsed_once

# A script's temporary tables end with it; here they stay, and the next script of the same name finds them.
run_script = executor._run_script


async def _with_new_temporary_tables(interpreter, source, ctx):
    source = re.sub(r"\bCREATE\s+TEMP\s+TABLE\b", "CREATE OR REPLACE TEMP TABLE", source)
    return await run_script(interpreter, source, ctx)


executor._run_script = _with_new_temporary_tables

create_session = read_servicer.BigQueryReadHandler._handle_create_read_session


def _session(handler, request, context):
    """Also open sessions on query results, which are tables in the service."""
    asked = types.CreateReadSessionRequest.deserialize(request)
    wanted = asked.read_session
    project, dataset, table = wanted.table.split("/")[1::2]
    if dataset != executor._ANONYMOUS_RESULTS_DATASET:
        return create_session(handler, request, context)
    rows = next(rows for job, rows in executor.JOB_RESULTS.items() if table == f"anon{job.replace('-', '')}")
    state = read_session.create_read_session(project, wanted.table, rows, asked.max_stream_count or 4)
    opened = read_servicer._build_read_session_response(
        state=state,
        read_session=wanted,
        session_format=read_session.FORMAT_ARROW,
        wire_format=types.DataFormat.ARROW,
        arrow_table=rows,
    )
    return types.ReadSession.serialize(opened)


async def _rows(handler, request, context):
    """Read from the row on that is asked for, in more than one answer, and without a thread that a lost call keeps."""
    asked = types.ReadRowsRequest.deserialize(request)
    session = asked.read_stream.rpartition("/streams/")[0]
    rows = read_session.get_stream_data(session, asked.read_stream).slice(asked.offset)
    schema = types.ArrowSchema(serialized_schema=read_session.get_session(session).arrow_schema_bytes)
    for batch in rows.to_batches(max_chunksize=500):
        arrow = types.ArrowRecordBatch(serialized_record_batch=read_session.serialize_arrow_record_batch(batch))
        answer = types.ReadRowsResponse(row_count=batch.num_rows, arrow_schema=schema, arrow_record_batch=arrow)
        yield types.ReadRowsResponse.serialize(answer)


read_session._SMALL_TABLE_BYTE_THRESHOLD = 0  # several streams of small tables too
read_servicer.BigQueryReadHandler._handle_create_read_session = _session
read_servicer.BigQueryReadHandler._handle_read_rows = _rows

create_app = server.create_app
TOKEN = {
    "access_token": "emulated",
    "expires_in": 3600,
    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "token_type": "Bearer",
}


def _with_tokens(context):
    """Also give tokens out, for the credentials that `tests/bigquery/service.py` writes."""
    app = create_app(context)
    app.post("/token")(lambda: TOKEN)
    return app


server.create_app = _with_tokens

if __name__ == "__main__":
    main(["start", *sys.argv[1:]])
