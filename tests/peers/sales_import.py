"""Imports point-of-sale exports, an item for each row.

Triggered by S3 when an object is created. The file is UTF-8, separated by commas, semicolons or tabs. The same object
again overwrites its own rows.

Environment: TABLE (pk, sk), of which it writes
- a row: DAY#{date}, {import}#{row} and the row's cells
- an import: IMPORT#{import}, META {status, rows, imported, rejected, errors, revenue}
and WRITERS (see batch_writes).
"""

import csv
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Annotated, Required
from urllib.parse import unquote_plus

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config
from pydantic import PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from batch_writes import WRITERS, put_all

BUFFER_BYTES = 1024 * 1024
MOST_ERRORS = 100
NO_VALUE = "---"
# In units of 0.00001 a total is an integer of 64 bits.
MOST = Decimal(2**63) / 100_000
number = re.compile(r"[+-]?(?:\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.(\d+))?").fullmatch

logger = Logger(service="sales-import")
s3 = boto3.client("s3")
config = Config(
    retries={"mode": "standard", "max_attempts": 5},
    max_pool_connections=max(WRITERS, 10),
    # What is sent is built here, and checking it again costs a quarter of a put.
    parameter_validation=False,
)
table = boto3.resource("dynamodb", config=config).Table(os.environ["TABLE"])


def amount(text: str) -> Decimal:
    """An exact number as exports write it: 5069.044, -0.5, 1,288.50."""
    match = number(text)
    if match is None or not text.strip("+-"):
        raise PydanticCustomError("invalid-number", "not a number")
    if match[1] and len(match[1]) > 5:
        raise PydanticCustomError("too-many-decimals", "more than 5 decimals")
    value = Decimal(text.replace(",", ""))
    if not -MOST <= value < MOST:
        raise PydanticCustomError("number-out-of-range", "number is out of range")
    return value


@lru_cache(maxsize=4096)
def iso_date(text: str) -> str:
    """The date of M/D/YYYY or YYYY-MM-DD, in the latter form."""
    try:
        if "/" in text:
            month, day, year = map(int, text.split("/"))
            found = date(year, month, day)
        else:
            found = date.fromisoformat(text)
    except ValueError as error:
        raise PydanticCustomError("invalid-date", "not a date, expected M/D/YYYY or YYYY-MM-DD") from error
    if not 1900 <= found.year <= 2999:
        raise PydanticCustomError("date-out-of-range", "year is not in 1900 to 2999")
    return found.isoformat()


Amount = Annotated[Decimal, PlainValidator(amount)]


class Sale(TypedDict, total=False):
    """A row of the export, its empty cells left out."""

    sale_date: Required[Annotated[str, PlainValidator(iso_date)]]
    client_id: str
    sale_id: Required[str]
    item_name: Required[str]
    batch_number: str
    sales_notes: str
    location: str
    notes: str
    color: str
    size: str
    item_price: Amount
    quantity: Amount
    subtotal: Amount
    discount_percent: Amount
    discount_amount: Amount
    tax: Amount
    item_total: Amount
    total_paid: Required[Amount]
    payment_method: str


COLUMNS = {
    "total paid w/ payment method": "total_paid",
    "batch #": "batch_number",
    "discount %": "discount_percent",
} | {name.replace("_", " "): name for name in Sale.__annotations__}
validate = TypeAdapter(Sale).validate_python


class NotSales(Exception):
    """A file that is no sales file."""


@logger.inject_lambda_context
def handler(event: dict, context) -> list[dict]:
    """Imports the objects that an event names."""
    reports = []
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
        reports.append(Import(bucket, key).run())
    return reports


class Import:
    """The import of one object, known by where and what it is."""

    def __init__(self, bucket: str, key: str):
        response = s3.get_object(Bucket=bucket, Key=key)
        self.body = response["Body"]
        self.key = key
        self.id = hashlib.sha256(f"{bucket}/{key}/{response['ETag']}".encode()).hexdigest()[:32]
        self.rows = self.imported = 0
        self.revenue = Decimal(0)
        self.rejected: Counter[str] = Counter()
        self.errors: list[dict] = []

    def run(self) -> dict:
        """Stores the rows, then the report, which it returns."""
        status = "completed"
        try:
            put_all(table, self.items())
        except NotSales as error:
            status = str(error)
        except UnicodeDecodeError:
            status = "not-utf-8"
        report = {
            "import_id": self.id,
            "key": self.key,
            "status": status,
            "rows": self.rows,
            "imported": self.imported,
            "rejected": dict(self.rejected),
            "revenue": str(self.revenue),
        }
        table.put_item(Item={"pk": f"IMPORT#{self.id}", "sk": "META", "errors": self.errors, **report})
        logger.info("import ended", import_id=self.id, status=status, rows=self.rows, imported=self.imported)
        return report

    def items(self) -> Iterator[dict]:
        """The items of the good rows; the others are counted by what is wrong with them."""
        lines = io.TextIOWrapper(io.BufferedReader(self.body, BUFFER_BYTES), encoding="utf-8-sig", newline="")
        header = next(lines, "")
        delimiter = max(",;\t", key=header.count)
        reader = csv.reader(chain([header], lines), delimiter=delimiter, strict=True)
        names = [column(cell) for cell in next(reader, [])]
        if not Sale.__required_keys__.issubset(names):
            raise NotSales("missing-headers")
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.reject("malformed-quoting", str(error))
                continue
            if not cells:
                continue
            if len(cells) != len(names):
                self.reject("too-few-cells" if len(cells) < len(names) else "too-many-cells", "")
                continue
            row = {name: cell for name, cell in zip(names, cells) if name and cell and cell != NO_VALUE}
            try:
                sale = validate(row)
            except ValidationError as error:
                fault = error.errors(include_url=False, include_input=False)[0]
                code = "missing-value" if fault["type"] == "missing" else fault["type"]
                self.reject(code, f"{fault['loc'][0]}: {fault['msg']}")
                continue
            self.rows += 1
            self.imported += 1
            self.revenue += sale["total_paid"]
            yield {"pk": f"DAY#{sale['sale_date']}", "sk": f"{self.id}#{self.rows:08d}", **sale}

    def reject(self, code: str, detail: str) -> None:
        """Counts a bad row."""
        self.rows += 1
        self.rejected[code] += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append({"row": self.rows, "code": code, "detail": detail})


def column(header: str) -> str | None:
    """The column that a header names: trimmed, in any case, with or without "(excluding tax)"."""
    return COLUMNS.get(header.strip().lower().removesuffix("(excluding tax)").rstrip())
