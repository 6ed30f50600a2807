"""Places an order: POST /api/orders with an Idempotency-Key.

Triggered by API Gateway (REST, proxy integration, Cognito authorizer). The order is pending when it is answered with
202; the state machine sees to the rest by the steps of order_steps.

Environment:
- TABLE (pk, sk), of which it reads PRODUCT#{sku}, META {product_id, name, price, currency, tax_class} and writes
  an order, ORDER#{number}, META, and its first event, ORDER#{number}, EV#000001
- IDEMPOTENCY_TABLE (id; TTL on expiration), which is Powertools'
- STATE_MACHINE_ARN, CURRENCY
- TAX_RATES, as {"default": "0.09", "rates": [{"class": "reduced", "country": "SG", "rate": "0.05"}]}
"""

import json
import os
import secrets
import string
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyValidationError,
)
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, Field, ValidationError

STATE_MACHINE_ARN = os.environ["STATE_MACHINE_ARN"]
CURRENCY = os.environ.get("CURRENCY", "SGD")
TAXES = json.loads(os.environ.get("TAX_RATES", '{"default": "0.09"}'))
DEFAULT_RATE = Decimal(TAXES["default"])
RATES = {(rate["class"], rate["country"]): Decimal(rate["rate"]) for rate in TAXES.get("rates", [])}
CENT = Decimal("0.01")
MOST_LINES = 45
# Crockford's base 32.
ALPHABET = [char for char in string.digits + string.ascii_uppercase if char not in "ILOU"]

logger = Logger(service="create-order")
dynamodb = boto3.resource("dynamodb")
table = dynamodb.Table(os.environ["TABLE"])
step_functions = boto3.client("stepfunctions")

Text = Annotated[str, Field(min_length=1, max_length=100)]


class Item(BaseModel, extra="forbid"):
    """Units of a sku."""

    sku: Annotated[str, Field(min_length=1, max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Address(BaseModel, extra="forbid"):
    """Where an order goes, or who pays."""

    recipient: Text
    line1: Annotated[str, Field(min_length=1, max_length=200)]
    line2: Annotated[str, Field(max_length=200)] | None = None
    city: Text
    region: Text | None = None
    postal_code: Annotated[str, Field(max_length=20)] | None = None
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    phone: Annotated[str, Field(pattern=r"^\+?[0-9 ()-]{5,40}$")] | None = None


class NewOrder(BaseModel, extra="forbid"):
    """The body."""

    items: Annotated[list[Item], Field(min_length=1, max_length=200)]
    shipping_address: Address
    billing_address: Address | None = None
    payment_method: Annotated[str, Field(pattern="^[A-Za-z0-9_.:-]{1,64}$")]
    notes: Annotated[str, Field(min_length=1, max_length=2000)] | None = None

    def quantities(self) -> dict[str, int]:
        """Units by sku; equal skus are added up."""
        quantities: dict[str, int] = {}
        for item in self.items:
            quantities[item.sku] = quantities.get(item.sku, 0) + item.quantity
        return quantities


class Refused(Exception):
    """An order that cannot be placed."""

    def __init__(self, detail: str, errors: list | None = None):
        super().__init__(detail)
        self.errors = errors or []


def replayed(response: dict, _record) -> dict:
    """Marks an answer that was given before."""
    response["headers"]["Idempotent-Replayed"] = "true"
    return response


persistence = DynamoDBPersistenceLayer(os.environ["IDEMPOTENCY_TABLE"], boto3_client=boto3.client("dynamodb"))
idempotency = IdempotencyConfig(
    event_key_jmespath="[key, sub]",
    payload_validation_jmespath="body",
    expires_after_seconds=24 * 3600,
    response_hook=replayed,
)


@logger.inject_lambda_context
def handler(event: dict, context) -> dict:
    """Answers one request."""
    headers = {name.lower(): value for name, value in event["headers"].items()}
    key = headers.get("idempotency-key")
    if not key:
        return answer(400, {"code": "idempotency-key-missing"})
    body = event.get("body") or ""
    try:
        new = NewOrder.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        return answer(422, {"code": "invalid-body", "errors": errors})
    idempotency.register_lambda_context(context)
    request = {"key": key, "sub": event["requestContext"]["authorizer"]["claims"]["sub"], "body": body}
    try:
        response = place(request=request, new=new)
    except Refused as refusal:
        return answer(422, {"code": str(refusal), "errors": refusal.errors})
    except IdempotencyValidationError:
        return answer(422, {"code": "idempotency-key-reused"})
    except IdempotencyAlreadyInProgressError:
        return answer(409, {"code": "idempotency-in-progress"})
    logger.info("order taken", location=response["headers"]["Location"])
    return response


def answer(status: int, body: dict, headers: dict | None = None) -> dict:
    """A proxy integration's answer."""
    headers = {"Content-Type": "application/json"} | (headers or {})
    return {"statusCode": status, "headers": headers, "body": json.dumps(body, default=str)}


@idempotent_function(data_keyword_argument="request", persistence_store=persistence, config=idempotency)
def place(*, request: dict, new: NewOrder) -> dict:
    """Takes an order and has the state machine begin with it, once for each key and customer."""
    now = datetime.now(UTC)
    order_id = f"ORD-{now:%Y%m%d}-{''.join(secrets.choice(ALPHABET) for _ in range(8))}"
    lines = priced(new)
    order = {
        "pk": f"ORDER#{order_id}",
        "sk": "META",
        "order_id": order_id,
        "customer": request["sub"],
        "status": "pending",
        "stock": "none",
        "payment": "none",
        "version": 1,
        "created_at": now.isoformat(timespec="milliseconds"),
        "currency": CURRENCY,
        "lines": lines,
        **{sum_of: sum(line[sum_of] for line in lines) for sum_of in ("subtotal", "tax", "total")},
        **new.model_dump(include={"shipping_address", "billing_address", "payment_method", "notes"}, exclude_none=True),
    }
    if not order["total"]:
        raise Refused("nothing-to-pay")
    outbox = {
        "pk": order["pk"],
        "sk": "EV#000001",
        "type": "order.created",
        "time": order["created_at"],
        "data": {name: order[name] for name in ("order_id", "customer", "lines", "total", "currency")},
    }
    dynamodb.meta.client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": table.name, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}
            for item in (order, outbox)
        ]
    )
    begin(order_id)
    shown = {name: value for name, value in order.items() if name not in ("pk", "sk")}
    return answer(202, shown, {"Location": f"/api/orders/{order_id}", "ETag": '"v1"'})


def priced(new: NewOrder) -> list[dict]:
    """The lines of an order by the catalogue's prices, each rounded to the cent."""
    quantities = new.quantities()
    if len(quantities) > MOST_LINES:
        raise Refused("too-many-items")
    products = products_of(list(quantities))
    unknown = [sku for sku in quantities if sku not in products]
    if unknown:
        raise Refused("unknown-sku", unknown)
    lines = []
    for sku, quantity in quantities.items():
        product = products[sku]
        if product["currency"] != CURRENCY:
            raise Refused("currency-mismatch", [sku])
        rate = RATES.get((product["tax_class"], new.shipping_address.country), DEFAULT_RATE)
        subtotal = (product["price"] * quantity).quantize(CENT, ROUND_HALF_UP)
        tax = (subtotal * rate).quantize(CENT, ROUND_HALF_UP)
        lines.append(
            {
                "sku": sku,
                "product_id": product["product_id"],
                "name": product["name"],
                "tax_class": product["tax_class"],
                "tax_rate": rate,
                "quantity": quantity,
                "unit_price": product["price"],
                "subtotal": subtotal,
                "tax": tax,
                "total": subtotal + tax,
            }
        )
    return lines


def products_of(skus: list[str]) -> dict[str, dict]:
    """The products of some skus."""
    products = {}
    request = {table.name: {"Keys": [{"pk": f"PRODUCT#{sku}", "sk": "META"} for sku in skus]}}
    while request:
        response = dynamodb.batch_get_item(RequestItems=request)
        for product in response["Responses"].get(table.name, []):
            products[product["pk"].removeprefix("PRODUCT#")] = product
        request = response.get("UnprocessedKeys")
    return products


def begin(order_id: str) -> None:
    """Has the state machine begin; an order that it did not begin with is there all the same, for a sweep to find."""
    try:
        step_functions.start_execution(
            stateMachineArn=STATE_MACHINE_ARN, name=order_id, input=json.dumps({"order_id": order_id})
        )
    except (BotoCoreError, ClientError):
        logger.exception("the state machine did not begin", order_id=order_id)
