"""The steps by which a state machine carries an order through: reserve, authorise, confirm, capture; and, where that
fails, void and release.

Each is a handler of its own, a task with the input {"order_id": …}, answers {"order_id", "status"}, and changes nothing
when it is done already. What an execution may catch are the names of the exceptions: OutOfStock, PaymentDeclined,
CaptureFailed, OrderCancelled; what it may try again is Conflict.

Environment: TABLE (pk, sk), of which it reads and writes
- an order: ORDER#{number}, META {status, stock, payment, version, lines, total, payment_method}
- its events: ORDER#{number}, EV#{version} {type, time}
- stock: STOCK#{sku}, META {available, reserved, sold, version}
- the sandbox's payments: PAYMENT#{number}, META {state, amount, method}
"""

import os
from datetime import UTC, datetime

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

HELD_BY = {"sandbox-approve", "sandbox-capture-fails"}

logger = Logger(service="order-steps")
table = boto3.resource("dynamodb").Table(os.environ["TABLE"])
client = table.meta.client


class OutOfStock(Exception):
    """There are too few units of some skus; the order is to be undone."""


class PaymentDeclined(Exception):
    """The provider does not hold the money; the order is to be undone."""


class CaptureFailed(Exception):
    """The provider does not take the money; the order is to be undone."""


class OrderCancelled(Exception):
    """The order does not go on."""


class OutOfOrder(Exception):
    """The step's turn has not come, or is past."""


class Conflict(Exception):
    """Somebody else changed the order meanwhile."""


@logger.inject_lambda_context
def reserve(event: dict, context) -> dict:
    """Holds the units of every line, or of none."""
    order = going_on(event)
    if order["stock"] == "none":
        try:
            record(order, "order.reserved", {"stock": "held"}, move=("available", "reserved"))
        except OutOfStock as error:
            record(order, "order.out_of_stock", {"status": "cancelled", "shortages": error.args[0]})
            raise
    return done(order)


@logger.inject_lambda_context
def authorise(event: dict, context) -> dict:
    """Has the provider hold the order's total."""
    order = going_on(event)
    if order["payment"] == "none":
        if order["stock"] != "held":
            raise OutOfOrder("no stock is held")
        method = order["payment_method"]
        state = paid("authorised" if method in HELD_BY else "declined", order)
        record(order, f"order.payment_{state}", {"payment": state})
    if order["payment"] == "declined":
        raise PaymentDeclined(order["payment_method"])
    return done(order)


@logger.inject_lambda_context
def confirm(event: dict, context) -> dict:
    """Confirms an order whose units and money are held."""
    order = going_on(event)
    if order["status"] == "pending":
        if (order["stock"], order["payment"]) != ("held", "authorised"):
            raise OutOfOrder("stock or money is not held")
        record(order, "order.confirmed", {"status": "confirmed"})
    return done(order)


@logger.inject_lambda_context
def capture(event: dict, context) -> dict:
    """Has the provider take the money, by which the units are sold."""
    order = going_on(event)
    if order["payment"] != "captured":
        if (order["status"], order["payment"]) != ("confirmed", "authorised"):
            raise OutOfOrder("the order is not confirmed")
        if order["payment_method"] == "sandbox-capture-fails":
            raise CaptureFailed(order["payment_method"])
        turned("captured", order, unless="voided")
        record(order, "order.paid", {"payment": "captured", "stock": "sold"}, move=("reserved", "sold"))
    return done(order)


@logger.inject_lambda_context
def void(event: dict, context) -> dict:
    """Has the provider let go of what it holds, and never hold any for this order again."""
    order = loaded(event)
    if order["payment"] == "captured":
        raise OutOfOrder("the money is taken")
    if order["payment"] != "voided":
        turned("voided", order, unless="captured")
        record(order, "order.payment_voided", {"payment": "voided"})
    return done(order)


@logger.inject_lambda_context
def release(event: dict, context) -> dict:
    """Makes the units available again and closes the order."""
    order = loaded(event)
    if order["payment"] in ("authorised", "captured"):
        raise OutOfOrder("money is held or taken")
    if order["stock"] == "held":
        move = ("reserved", "available")
        record(order, "order.cancelled", {"stock": "released", "status": "cancelled"}, move)
    elif order["status"] != "cancelled":
        record(order, "order.cancelled", {"status": "cancelled"})
    return done(order)


def loaded(event: dict) -> dict:
    """The order that an event names."""
    key = {"pk": f"ORDER#{event['order_id']}", "sk": "META"}
    response = table.get_item(Key=key, ConsistentRead=True)
    if "Item" not in response:
        raise OutOfOrder("no such order")
    return response["Item"]


def going_on(event: dict) -> dict:
    """The order that an event names, unless it is cancelled."""
    order = loaded(event)
    if order["status"] == "cancelled":
        raise OrderCancelled(order["order_id"])
    return order


def done(order: dict) -> dict:
    """A step's answer."""
    logger.info("step done", order_id=order["order_id"], status=order["status"], version=int(order["version"]))
    return {"order_id": order["order_id"], "status": order["status"]}


def record(order: dict, event: str, changes: dict, move: tuple[str, str] | None = None) -> None:
    """Changes an order, writes its event and moves its units from one count to another, all or nothing."""
    version = order["version"] + 1
    values = {**changes, "version": version}
    update = {
        "TableName": table.name,
        "Key": {"pk": order["pk"], "sk": order["sk"]},
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
        "ConditionExpression": "#version = :known",
        "ExpressionAttributeNames": {f"#{name}": name for name in values},
        "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}
        | {":known": order["version"]},
    }
    outbox = {
        "pk": order["pk"],
        "sk": f"EV#{int(version):06d}",
        "type": event,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": changes,
    }
    moves = [moved(line, *move) for line in order["lines"]] if move else []
    put = {"TableName": table.name, "Item": outbox, "ConditionExpression": "attribute_not_exists(pk)"}
    try:
        client.transact_write_items(TransactItems=[{"Update": update}, {"Put": put}, *moves])
    except client.exceptions.TransactionCanceledException as error:
        codes = [reason.get("Code") for reason in error.response["CancellationReasons"]]
        short = [line["sku"] for line, code in zip(order["lines"], codes[2:]) if code == "ConditionalCheckFailed"]
        if short and codes[0] == "None":
            raise OutOfStock(short) from error
        raise Conflict(order["order_id"]) from error
    order.update(values)


def moved(line: dict, source: str, target: str) -> dict:
    """The move of a line's units from one count of its stock to another."""
    update = {
        "TableName": table.name,
        "Key": {"pk": f"STOCK#{line['sku']}", "sk": "META"},
        "UpdateExpression": "SET #source = #source - :units, #target = #target + :units, #version = #version + :one",
        "ConditionExpression": "#source >= :units",
        "ExpressionAttributeNames": {"#source": source, "#target": target, "#version": "version"},
        "ExpressionAttributeValues": {":units": line["quantity"], ":one": 1},
    }
    return {"Update": update}


def paid(state: str, order: dict) -> str:
    """Opens the sandbox's payment in this state; the state it is in, where it was opened before."""
    response = table.update_item(
        Key={"pk": f"PAYMENT#{order['order_id']}", "sk": "META"},
        UpdateExpression="SET #state = if_not_exists(#state, :state), #amount = :amount, #method = :method",
        ExpressionAttributeNames={"#state": "state", "#amount": "amount", "#method": "method"},
        ExpressionAttributeValues={":state": state, ":amount": order["total"], ":method": order["payment_method"]},
        ReturnValues="ALL_NEW",
    )
    return response["Attributes"]["state"]


def turned(state: str, order: dict, unless: str) -> None:
    """Brings the sandbox's payment into a state, unless it is in another that excludes it."""
    try:
        table.update_item(
            Key={"pk": f"PAYMENT#{order['order_id']}", "sk": "META"},
            UpdateExpression="SET #state = :state",
            ConditionExpression="attribute_not_exists(#state) OR #state <> :excluded",
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues={":state": state, ":excluded": unless},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            raise OutOfOrder(f"the payment is {unless}") from error
        raise
