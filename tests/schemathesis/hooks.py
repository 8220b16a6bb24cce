"""What schemathesis cannot read in the description."""

import json
import zlib

import schemathesis
from schemathesis import GenerationMode
from schemathesis.generation.meta import TestPhase

COLLECTIONS = ["products", "notes", "sales", "prices"]
KEYS = ["1", "2", "11", "none"]
COUNTERS = ["UnitsInStock", "Reserved"]
QUERIES = [
    ("SELECT _key, _revision, _pending FROM products", []),
    ("SELECT count(*), sum(_value->>'$.UnitsInStock') FROM products WHERE CategoryID = ?", [1]),
    ("SELECT ?1, ?2, NULL, 1.5, 'x'", ["a", None]),
    ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n", []),
]


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """A body of one JSON value a line; what is generated is one value, or a text that stands for all lines."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def map_case(ctx, case):
    """Makes valid what only an answer, or the definition of a collection, makes valid."""
    meta = case.meta
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return case
    if case.query:
        # A place in a list is a token that an answer gave; a made-up one is refused, and rightly.
        case.query.pop("after", None)
        # What a list can be sorted by is what the definition says.
        if "sort" in case.query:
            case.query["sort"] = "key"
        # What the cloud last said stands until the cloud hears of the deletion.
        if meta.phase.name == TestPhase.STATEFUL:
            case.query.pop("read", None)
    # Two that exclude each other; OpenAPI cannot say so.
    if case.headers and "If-Match" in case.headers:
        case.headers.pop("If-None-Match", None)
    if isinstance(case.body, dict):
        case.body = with_what_is_there(case.operation.definition.raw.get("operationId"), case.body)
    # A key names one request: another one under it is refused, and made-up keys are often the same.
    if case.headers and "Idempotency-Key" in case.headers:
        asked = repr((case.method, case.path_parameters, case.query, case.body))
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:200]}-{zlib.crc32(asked.encode('utf-8', 'surrogatepass'))}"
    return case


def with_what_is_there(operation, body):
    """Counters are those of products, and most ops are about records that there are."""
    if operation == "increment_record":
        return counters(body)
    if operation == "commit_write":
        return {**body, "ops": [op_on_what_is_there(op) for op in body["ops"]]}
    if operation == "query":
        sql, params = QUERIES[zlib.crc32(str(body.get("sql")).encode()) % len(QUERIES)]
        return {**body, "sql": sql, "params": params}
    if "labels" in body:
        # Names are bounded in bytes, and JSON Schema counts characters.
        return {**body, "labels": {name[:15]: value for name, value in (body["labels"] or {}).items()}}
    return body


def op_on_what_is_there(op):
    op = {**op, "collection": chosen(COLLECTIONS, op["collection"])}
    if "key" in op:
        op["key"] = chosen(KEYS, op["key"])
    if "by" in op:
        op["by"] = counters(op["by"])
    return op


def counters(by):
    return {chosen(COUNTERS, name): delta for name, delta in by.items()}


def chosen(some, text):
    """One of some, or now and then the text itself; always the same for the same text."""
    place = zlib.crc32(text.encode("utf-8", "surrogatepass")) % (len(some) + 1)
    return (some + [text])[place]
