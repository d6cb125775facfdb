"""Extract: what is read, and what is refused with which message."""

import csv
import gzip
import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from data_engineering import source as sources
from data_engineering.errors import DataError
from data_engineering.lake import read_json, staged
from data_engineering.schema import COLUMNS
from data_engineering.settings import BUNDLED_SOURCE, Settings
from data_engineering.source import BUNDLED_SHA256, extract

Row = dict[str, Any]
Extracted = Callable[..., list[Row]]


@pytest.fixture
def extracted(settings: Settings, rows_of: Callable[[Path], list[Row]]) -> Extracted:
    """Return a reader of a source's raw rows."""

    def read(source: str, **changes: str) -> list[Row]:
        changed = settings.model_copy(update=changes)
        return rows_of(staged(settings.lake, extract(changed, "run", source), "raw.parquet"))

    return read


@pytest.fixture
def refused(settings: Settings) -> Callable[..., None]:
    """Return a check that a source gives a DataError that names it and says `message`, and leaves no batch."""

    def check(source: str, message: str, **changes: str) -> None:
        changed = settings.model_copy(update=changes)
        with pytest.raises(DataError, match=f"^{re.escape(source)}: {message}"):
            extract(changed, "run", source)
        assert list(settings.lake.glob("staging/*")) == []

    return check


def _parquet(rows: list[Row], **types: pa.DataType) -> bytes:
    arrays = {
        name: pa.array([row[name] for row in rows], types.get(name, pa.int64() if kind is int else pa.string()))
        for name, kind in COLUMNS.items()
    }
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return out.getvalue()


def test_the_official_file_has_32561_rows(official, rows_of):
    settings, batch = official
    assert len(rows_of(staged(settings.lake, batch, "raw.parquet"))) == 32_561


def test_the_official_rows_are_those_of_the_file_with_leading_blanks(official, rows_of):
    settings, batch = official
    with gzip.open(BUNDLED_SOURCE, "rt", newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    wanted = [
        tuple(int(v) if kind is int else v for v, kind in zip(line, COLUMNS.values(), strict=True)) for line in lines
    ]
    assert wanted[0][1] == " State-gov"
    assert [tuple(row.values()) for row in rows_of(staged(settings.lake, batch, "raw.parquet"))] == wanted


def test_the_raw_table_has_strings_and_64_bit_integers(official):
    settings, batch = official
    schema = pq.read_schema(staged(settings.lake, batch, "raw.parquet"))
    assert {f.name: f.type for f in schema} == {
        name: pa.int64() if kind is int else pa.string() for name, kind in COLUMNS.items()
    }


def test_the_manifest_says_what_was_read(official):
    settings, batch = official
    assert read_json(staged(settings.lake, batch, "manifest.json")) == {
        "run": "official",
        "source": str(BUNDLED_SOURCE),
        "sha256": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        "rows": 32_561,
        "read_at": datetime.strptime(batch, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC).isoformat(),
    }


def test_the_pinned_digest_is_the_unpacked_official_file():
    assert hashlib.sha256(gzip.decompress(BUNDLED_SOURCE.read_bytes())).hexdigest() == BUNDLED_SHA256


def test_a_changed_official_file_is_refused(source_file, refused, monkeypatch):
    changed = gzip.compress(gzip.decompress(BUNDLED_SOURCE.read_bytes()).replace(b"39", b"38", 1))
    path = source_file(changed, "adult.data.gz")
    monkeypatch.setattr(sources, "BUNDLED_SOURCE", Path(path))
    refused(path, rf"SHA-256 is [0-9a-f]{{64}}, the official file's is {BUNDLED_SHA256}: restore it")


def test_another_file_may_have_any_digest(source_file, extracted, csv_text, row):
    assert extracted(source_file(csv_text([row(age=38)])))[0]["age"] == 38


def test_a_retry_reads_nothing_again(settings, source_file, csv_text, row):
    path = source_file(csv_text([row()]))
    first = extract(settings, "run", path)
    Path(path).unlink()
    assert extract(settings, "run", path) == first


def test_another_run_reads_again(settings, source_file, csv_text, row):
    path = source_file(csv_text([row()]))
    assert extract(settings, "run 1", path) < extract(settings, "run 2", path)


def test_a_retry_of_a_run_that_stopped_before_its_manifest_reads_again(settings, source_file, csv_text, row):
    path = source_file(csv_text([row()]))
    first = extract(settings, "run", path)
    staged(settings.lake, first, "manifest.json").unlink()
    assert extract(settings, "run", path) > first


def test_the_setting_names_the_source(settings, source_file, csv_text, row, rows_of):
    settings = settings.model_copy(update={"source": source_file(csv_text([row()]))})
    assert rows_of(staged(settings.lake, extract(settings, "run"), "raw.parquet")) == [row()]


@pytest.mark.parametrize("columns", [list(COLUMNS), list(reversed(COLUMNS)), sorted(COLUMNS)])
def test_a_header_may_have_any_order(source_file, extracted, csv_text, row, columns):
    assert extracted(source_file(csv_text([row(), row(age=40)], columns=columns))) == [row(), row(age=40)]


def test_blanks_around_header_names_do_not_count(source_file, extracted, csv_text, row):
    header, line = csv_text([row()]).splitlines()
    assert extracted(source_file(f"{header.replace(',', ' , ')}\n{line}\n")) == [row()]


def test_without_header_columns_are_in_the_tables_order(source_file, extracted, csv_text, row):
    assert extracted(source_file(csv_text([row(), row(age=40)], header=False))) == [row(), row(age=40)]


def test_an_own_key_column_is_kept_as_text(source_file, extracted, csv_text, row):
    text = csv_text([{**row(), "id": "007"}], columns=["id", *COLUMNS])
    assert extracted(source_file(text), key_column="id")[0]["id"] == "007"


@pytest.mark.parametrize("header", [True, False])
def test_a_byte_order_mark_is_no_data(source_file, extracted, csv_text, row, header):
    assert extracted(source_file("\ufeff" + csv_text([row()], header=header))) == [row()]


@pytest.mark.parametrize("form", [{"header": header, "end": end} for header in (0, 1) for end in ("\n", "\r\n", "\r")])
def test_a_line_may_end_in_any_of_three_ways(source_file, extracted, csv_text, row, form):
    assert extracted(source_file(csv_text([row(), row(age=40)], **form))) == [row(), row(age=40)]


def test_the_last_line_needs_no_end_and_empty_lines_no_rows(source_file, extracted, csv_text, row):
    line = csv_text([row()], header=False).strip()
    assert extracted(source_file(f"{line}\n\n\n{line}")) == [row(), row()]


def test_gzip_is_found_by_content(source_file, extracted, csv_text, row):
    assert extracted(source_file(gzip.compress(csv_text([row()]).encode()), "census.csv")) == [row()]


def test_the_digest_is_of_the_unpacked_bytes(settings, source_file, csv_text, row):
    text = csv_text([row()]).encode()
    batch = extract(settings, "run", source_file(gzip.compress(text)))
    assert read_json(staged(settings.lake, batch, "manifest.json"))["sha256"] == hashlib.sha256(text).hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve the test's folder over HTTP, as a plain server that knows no ranges; give its address."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_file_behind_http_is_a_source(served, tmp_path, extracted, pack):
    """Of 7 MB, more than a client would ask for at once."""
    official = gzip.decompress(BUNDLED_SOURCE.read_bytes())
    (tmp_path / "census").write_bytes(pack(official * 2))
    assert len(official * 2) > 7_000_000
    assert len(extracted(f"{served}/census")) == 2 * 32_561


def test_a_file_that_a_server_has_not_is_tried_again_and_named(served, extracted):
    with pytest.raises(ConnectionError, match=f"^{served}/nothing: no such file, or the server cannot be reached$"):
        extracted(f"{served}/nothing")


def test_a_file_url_is_a_source(source_file, extracted, csv_text, row):
    assert extracted(f"file://{source_file(csv_text([row()]))}") == [row()]


def test_a_name_may_hold_glob_characters(source_file, extracted, csv_text, row):
    assert extracted(source_file(csv_text([row()]), "census[1]*.csv")) == [row()]


def test_text_keeps_its_blanks_quotes_commas_and_line_ends(source_file, extracted, csv_text, row):
    odd = row(race=" White ", sex='Ma"le', occupation="a,b", workclass="a\nb", native_country="Perú")
    assert extracted(source_file(csv_text([odd]))) == [odd]


def test_empty_fields_are_null(source_file, extracted, csv_text, row):
    assert extracted(source_file(csv_text([row(age="", race="")]))) == [row(age=None, race=None)]


@pytest.mark.parametrize("text", ["+7", "-7", " 07 ", str(2**63 - 1), str(-(2**63))])
def test_whole_numbers_of_64_bits_are_read(source_file, extracted, csv_text, row, text):
    assert extracted(source_file(csv_text([row(capital_gain=text)])))[0]["capital_gain"] == int(text)


def test_parquet_is_found_by_content(source_file, extracted, row):
    assert extracted(source_file(_parquet([row(), row(age=40)]), "census.data")) == [row(), row(age=40)]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.uint16()])
def test_parquet_integers_become_64_bit(settings, source_file, row, kind):
    batch = extract(settings, "run", source_file(_parquet([row()], age=kind)))
    assert pq.read_schema(staged(settings.lake, batch, "raw.parquet")).field("age").type == pa.int64()


def test_parquet_keeps_a_key_column_as_text(source_file, extracted, row):
    table = pq.read_table(io.BytesIO(_parquet([row()]))).append_column("id", pa.array([7]))
    out = io.BytesIO()
    pq.write_table(table, out)
    assert extracted(source_file(out.getvalue()), key_column="id")[0]["id"] == "7"


def test_a_missing_file_is_refused(tmp_path, refused):
    refused(str(tmp_path / "none.csv"), "no such file: set DATA_SOURCE")


def test_a_folder_is_refused(tmp_path, refused):
    refused(str(tmp_path), "no such file: set DATA_SOURCE")


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["plain", "gzipped"])
def test_an_empty_file_is_refused(source_file, refused, content):
    refused(source_file(content), "the file is empty: fetch it again")


def test_a_truncated_gzip_is_refused(source_file, refused):
    refused(
        source_file(BUNDLED_SOURCE.read_bytes()[:-50_000]), r"the gzip data is damaged \(.+\): fetch the file again"
    )


@pytest.mark.parametrize("at", [5_000, 250_000, -6])
def test_a_corrupt_gzip_is_refused(source_file, refused, at):
    content = bytearray(BUNDLED_SOURCE.read_bytes())
    content[at] ^= 0xFF
    refused(source_file(bytes(content)), "(the gzip data is damaged|byte [0-9]+ is|NUL byte at)")


def test_a_header_without_rows_is_refused(source_file, refused, csv_text):
    refused(source_file(csv_text([])), "no rows: check that the file is the whole census table")


def test_a_missing_column_is_refused(source_file, refused, csv_text, row):
    path = source_file(csv_text([row()], columns=[name for name in COLUMNS if name != "race"]))
    refused(path, "column race is missing: the header has age, workclass, ")


def test_an_extra_column_is_refused(source_file, refused, csv_text, row):
    path = source_file(csv_text([row(fnlwgt=1)], columns=[*COLUMNS, "fnlwgt"]))
    refused(path, "unknown column 'fnlwgt': remove it, or set DATA_KEY_COLUMN")


def test_a_renamed_column_is_refused_with_its_likely_name(source_file, refused, csv_text, row):
    path = source_file(csv_text([row()]).replace("hours_per_week", "hours-per-week"))
    refused(path, "column hours_per_week is missing: rename 'hours-per-week'")


def test_a_doubled_column_is_refused(source_file, refused, csv_text, row):
    refused(source_file(csv_text([row()], columns=[*COLUMNS, "age"])), "column age is there more than once: keep one")


def test_a_column_doubled_in_another_case_is_refused(source_file, refused, csv_text, row):
    path = source_file(csv_text([row(Age=1)], columns=[*COLUMNS, "Age"]))
    refused(path, "column age is there more than once: keep one", key_column="Age")


def test_a_missing_key_column_is_refused(source_file, refused, csv_text, row):
    refused(source_file(csv_text([row()])), "column id is missing: ", key_column="id")


def test_a_key_column_without_a_header_is_refused(source_file, refused, csv_text, row):
    path = source_file(csv_text([row()], header=False))
    refused(path, "no header, so column id cannot be found: add a header or unset DATA_KEY_COLUMN", key_column="id")


def test_too_few_fields_are_refused(source_file, refused, csv_text, row):
    lines = csv_text([row(), row(), row()], header=False).splitlines()
    lines[1] = lines[1].rpartition(",")[0]
    refused(source_file("\n".join(lines)), "line 2: Expected Number of Columns: 15 Found: 14: '39,.*: correct the line")


def test_too_many_fields_are_refused(source_file, refused, csv_text, row):
    lines = csv_text([row(), row(), row()], header=False).splitlines()
    lines[2] += ",more"
    refused(source_file("\n".join(lines)), "line 3: Expected Number of Columns: 15 Found: 16: '39,.*: correct the line")


def test_bad_lines_are_counted(source_file, refused, csv_text, row):
    refused(source_file(csv_text([row()]) + "a,b\nc\n"), r"line 3: .+ Found: 2: .+ \(2 lines in all\): correct")


def test_a_bad_line_far_down_is_found(source_file, refused):
    lines = gzip.decompress(BUNDLED_SOURCE.read_bytes()).split(b"\n")
    lines[20_000] += b",more"
    refused(source_file(b"\n".join(lines)), "line 20001: Expected Number of Columns: 15 Found: 16")


def test_another_separator_is_refused(source_file, refused, csv_text, row):
    path = source_file(csv_text([row()], header=False).replace(",", ";"))
    refused(path, "line 1: Expected Number of Columns: 15 Found: 1: '39;State-gov;")


def test_an_open_quote_is_refused(source_file, refused, csv_text, row):
    text = csv_text([row(), row(), row()]).replace("White", '"White', 1)
    refused(source_file(text), "line 2: Value with unterminated quote found: '39,.*: correct the line")


def test_mixed_line_ends_are_refused(source_file, refused, csv_text, row):
    text = csv_text([row()], end="\n") + csv_text([row()], header=False, end="\r\n")
    refused(source_file(text), r"not a readable CSV file \(.+\): export it again, with one kind of line end")


def test_a_line_of_megabytes_is_refused(source_file, refused, csv_text, row):
    text = csv_text([row(race="x" * 2_100_000)], header=False)
    refused(source_file(text), "line 1: Maximum line size of 2000000 bytes exceeded")


@pytest.mark.parametrize(
    "value", ["old", "39.0", "0x10", "1_000", "1e3", "1 000", "-", "３９", str(2**63), str(-(2**63) - 1), "9" * 40]
)
def test_something_else_in_a_number_column_is_refused(source_file, refused, csv_text, row, value):
    path = source_file(csv_text([row(), row(hours_per_week=value), row(hours_per_week=value)]))
    refused(path, rf"column hours_per_week: '{re.escape(value)}' is not a 64-bit whole number \(2 rows\): correct it")


def test_a_nul_byte_is_refused(source_file, refused, csv_text, row):
    text = csv_text([row(race="Wh\0ite")])
    refused(source_file(text), rf"NUL byte at byte {text.index(chr(0))}: export the table again, as UTF-8 text")


def test_bytes_that_are_not_utf8_are_refused(source_file, refused, csv_text, row):
    content = csv_text([row(native_country="Perú")]).encode("latin-1")
    at = content.index(b"\xfa")
    refused(source_file(content), rf"byte {at} is b'\\xfa', which is not UTF-8: convert the file to UTF-8")


CHUNK = 1 << 20


@pytest.mark.parametrize("lead", [CHUNK - 2, CHUNK - 1, CHUNK, 2 * CHUNK - 1])
def test_the_offset_of_bad_bytes_is_right_across_chunks(source_file, refused, lead):
    # The first two bytes of a three-byte character, cut short by a letter.
    refused(source_file(b"a" * lead + b"\xe2\x82x" + b"a" * 9), rf"byte {lead} is b'\\xe2', which is not UTF-8")


def test_a_character_cut_at_the_end_of_the_file_is_refused(source_file, refused):
    refused(source_file(b"a" * (CHUNK - 1) + b"\xe2\x82"), rf"byte {CHUNK - 1} is b'\\xe2', which is not UTF-8")


def test_a_good_character_may_lie_across_chunks(source_file, refused):
    refused(source_file(b"a" * (CHUNK - 1) + "€".encode() + b"\0"), f"NUL byte at byte {CHUNK + 2}: ")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (("age", pa.float64(), 39.0), "column age has type float64, not int64: cast it where it is written"),
        (("age", pa.string(), "39"), "column age has type string, not int64: cast it where it is written"),
        (("race", pa.binary(), b"x"), "column race has type binary, not string: cast it where it is written"),
        (("race", pa.int64(), 1), "column race has type int64, not string: cast it where it is written"),
    ],
)
def test_parquet_of_another_type_is_refused(source_file, refused, row, field, message):
    column, kind, value = field
    refused(source_file(_parquet([row(**{column: value})], **{column: kind})), message)


def test_a_parquet_number_beyond_64_bits_is_refused(source_file, refused, row):
    path = source_file(_parquet([row(age=2**64 - 1)], age=pa.uint64()))
    refused(path, "Conversion Error: .*18446744073709551615.*column age: correct it where it is written")


def test_parquet_without_a_column_is_refused(source_file, refused, row):
    out = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(_parquet([row()]))).drop_columns(["race"]), out)
    refused(source_file(out.getvalue()), "column race is missing: ")


def test_parquet_without_rows_is_refused(source_file, refused):
    refused(source_file(_parquet([])), "no rows: ")


@pytest.mark.parametrize("length", [4, 600, -1])
def test_cut_parquet_is_refused(source_file, refused, row, length):
    refused(source_file(_parquet([row()])[:length]), r"not a readable Parquet file \(.+\): fetch it again")


def test_parquet_with_damaged_pages_is_refused(source_file, refused, row):
    rows = [row(functional_weight=n * 7919 % 100_003) for n in range(3_000)]
    content = bytearray(_parquet(rows))
    content[500:2_500] = b"\xaa" * 2_000
    refused(source_file(bytes(content)), r"not a readable Parquet file \(.+\): fetch it again")


FIELD = re.compile(r'[ \t]*"((?:[^"]|"")*)"[ ]*(?=[,\r\n]|\Z)|(?!\s*")([^,\r\n]*)(?=[,\r\n]|\Z)')
BLANKS = " \t\n\r\v\f"
LINES = [
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, Cuba,x",
    '50,"a,b",83311,"say ""hi""",13,Divorced,?,Husband,Black,Male,0,0,13,Perú,>50K',
    "38,,215646,HS-grad,9,Divorced,Sales,Not-in-family,White,Male,,0,40,United-States,<=50K",
]


def _strict(text: str) -> list[list[int | str | None]]:
    """Return the rows of a CSV text without header, read by a pattern of our own; ValueError where it is none."""
    at, lines, line = 0, [], []
    while at < len(text):
        field = FIELD.match(text, at)
        if not field:
            raise ValueError(f"no field at {at}")
        line.append(field[1].replace('""', '"') if field[1] is not None else field[2])
        at = field.end()
        if text[at : at + 1] == ",":
            at += 1
            if at < len(text):
                continue
            line.append("")
        at += 2 if text[at : at + 2] == "\r\n" else 1
        lines.append(line)
        line = []
    return [_typed(line) for line in lines if line != [""]]


def _typed(line: list[str]) -> list[int | str | None]:
    while len(line) > len(COLUMNS) and not line[-1]:  # commas at the end of a line hold nothing
        line.pop()
    typed: list[int | str | None] = []
    for value, kind in zip(line, COLUMNS.values(), strict=True):
        bare = value.strip(BLANKS)
        if kind is int and bare and not re.fullmatch("[+-]?[0-9]{1,19}", bare):
            raise ValueError(f"{value!r} is no number")
        typed.append((int(bare) if kind is int else bare) if bare else None)
    return typed


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """Return a CSV file with up to two damages."""
    lines = draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=4))
    content = draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode()
    for _ in range(draw(st.integers(1, 2))):
        at, to = sorted(draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
        match draw(st.sampled_from(["insert", "drop field", "cut", "swap", "letter"])):
            case "insert":
                piece = st.sampled_from([b'"', b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b" ", b"\t", b"9", b'""'])
                content = content[:at] + draw(st.one_of(piece, st.binary(min_size=1, max_size=3))) + content[at:]
            case "drop field":
                fields = content.split(b",")
                del fields[at % len(fields)]
                content = b",".join(fields)
            case "cut":
                content = content[:at] + content[min(to, at + 40) :]
            case "swap":
                fields = content.split(b",")
                i, j = at % len(fields), to % len(fields)
                fields[i], fields[j] = fields[j], fields[i]
                content = b",".join(fields)
            case _:
                content = re.sub(rb"[0-9]", draw(st.sampled_from([b"x", b".", b"_", b"e"])), content, count=1)
    return content


def _read_or_refused(content: bytes, folder: Path) -> list[list[int | str | None]] | None:
    path = folder / "damaged.csv"
    path.write_bytes(content)
    settings = Settings(lake=folder / "lake")
    try:
        batch = extract(settings, "run", str(path))
    except DataError:
        assert not list(settings.lake.glob("staging/*"))
        return None
    rows = pq.read_table(staged(settings.lake, batch, "raw.parquet")).to_pylist()
    return [[(v.strip(BLANKS) or None) if isinstance(v, str) else v for v in row.values()] for row in rows]


@hypothesis_settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(content=_damaged())
def test_a_damaged_file_is_refused_or_read_for_what_it_says(content):
    with tempfile.TemporaryDirectory() as folder:
        rows = _read_or_refused(content, Path(folder))
    if rows is not None:
        assert rows == _strict(content.decode())


def test_undamaged_lines_are_what_the_strict_reading_says(tmp_path):
    content = "\n".join(LINES)
    assert _read_or_refused(content.encode(), tmp_path) == _strict(content)
