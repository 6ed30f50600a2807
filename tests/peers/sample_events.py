"""Events as the peers' triggers send them, made of those in the folder events/."""

import base64
import copy
import gzip
import hashlib
import json
import uuid
from functools import cache
from pathlib import Path
from urllib.parse import quote_plus

EVENTS = Path(__file__).resolve().parents[2] / "events"
CONTENT_TYPES = {"json": "application/json", "ndjson": "application/x-ndjson", "line-protocol": "text/plain"}


def of_file(name: str) -> dict:
    """The event of a file, as events/NAME.json."""
    return copy.deepcopy(_file(name))


@cache
def _file(name: str) -> dict:
    return json.loads((EVENTS / f"{name}.json").read_text())


def ingest(body: bytes, form: str, *, compressed: bool = False, query: dict | None = None) -> dict:
    """A request to sensor_ingest; `form` is json, ndjson or line-protocol."""
    event = of_file("sensors/ingest-json")
    headers = event["headers"]
    headers["Content-Type"] = CONTENT_TYPES[form]
    if compressed:
        headers["Content-Encoding"] = "gzip"
    return _with_query(event, query) | {
        "body": base64.b64encode(gzip.compress(body)).decode() if compressed else body.decode(),
        "isBase64Encoded": compressed,
    }


def messages(bodies: list[str]) -> dict:
    """A batch of messages to sensor_store."""
    record = of_file("sensors/store-batch")["Records"][0]
    return {
        "Records": [
            record
            | {
                "messageId": str(uuid.uuid4()),
                "body": body,
                "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
            }
            for body in bodies
        ]
    }


def object_created(bucket: str, key: str) -> dict:
    """An object's creation, to sales_import."""
    event = of_file("sales/s3-object-created")
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    event["Records"][0]["s3"]["object"]["key"] = quote_plus(key, safe="/")
    return event


def revenue(start: str, end: str, *, daily: bool = False) -> dict:
    """A request to revenue."""
    event = of_file("revenue/revenue-daily" if daily else "revenue/revenue")
    return _with_query(event, {"start": start, "end": end})


def order(key: str, body: dict, sub: str | None = None) -> dict:
    """A request to create_order."""
    event = of_file("orders/orders-create")
    event["headers"]["Idempotency-Key"] = key
    if sub:
        event["requestContext"]["authorizer"]["claims"]["sub"] = sub
    return event | {"body": json.dumps(body)}


def step(action: str, order_id: str) -> dict:
    """A task of order_steps; `action` is reserve, authorise, confirm, capture, void or release."""
    return {"order_id": order_id, "action": action, "correlation_id": str(uuid.uuid4()), "attempt": 0}


def _with_query(event: dict, query: dict | None) -> dict:
    event["queryStringParameters"] = query
    event["multiValueQueryStringParameters"] = query and {name: [value] for name, value in query.items()}
    return event
