"""Answers what the rows of sales add up to: GET /api/metrics/revenue and GET /api/metrics/revenue/daily.

Triggered by API Gateway (REST, proxy integration, Cognito authorizer). The query's start and end are days, as M/D/YYYY
or YYYY-MM-DD, both included.

Environment: TABLE (pk, sk), of which it reads DAY#{date}, {import}#{row} {total_paid}; WORKERS, the most queries at
once.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import boto3
from aws_lambda_powertools import Logger
from boto3.dynamodb.conditions import Key
from botocore.config import Config

WORKERS = int(os.environ.get("WORKERS", "8"))
MOST_DAYS = 36_525
CENT = Decimal("0.01")
GROUPS = {"analyst", "admin"}

logger = Logger(service="revenue")
config = Config(retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=max(WORKERS, 10))
table = boto3.resource("dynamodb", config=config).Table(os.environ["TABLE"])
paginator = table.meta.client.get_paginator("query")
pool = ThreadPoolExecutor(WORKERS)


@logger.inject_lambda_context
def handler(event: dict, context) -> dict:
    """Answers one request."""
    claims = event["requestContext"]["authorizer"]["claims"]
    groups = claims.get("cognito:groups", "").strip("[]").replace(",", " ").split()
    if not GROUPS.intersection(groups):
        return answer(403, {"detail": "for analysts and administrators"})
    query = event.get("queryStringParameters") or {}
    try:
        start, end = day(query["start"]), day(query["end"])
    except (KeyError, ValueError):
        return answer(400, {"detail": "start and end are days, M/D/YYYY or YYYY-MM-DD"})
    if not 0 <= (end - start).days < MOST_DAYS:
        return answer(400, {"detail": "end is before start, or too far from it"})
    days = [start + timedelta(days=offset) for offset in range((end - start).days + 1)]
    sums = list(pool.map(revenue_of, days))
    if event["path"].rstrip("/").endswith("/daily"):
        data = [{"date": day.isoformat(), "revenue_sgd": revenue} for day, (revenue, rows) in zip(days, sums) if rows]
    else:
        total, rows = sum((revenue for revenue, _ in sums), Decimal(0)), sum(rows for _, rows in sums)
        average = (total / rows).quantize(CENT, ROUND_HALF_UP) if rows else Decimal(0)
        data = {"total_revenue_sgd": total, "average_order_value_sg": average}
    return answer(200, {"status": 200, "message": "success", "data": data})


def answer(status: int, body: dict) -> dict:
    """A proxy integration's answer."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body, default=float)}


def day(text: str) -> date:
    """The day that a parameter names."""
    return datetime.strptime(text, "%m/%d/%Y").date() if "/" in text else date.fromisoformat(text)


def revenue_of(day: date) -> tuple[Decimal, int]:
    """The exact sum of a day's totals paid, and how many rows it has."""
    revenue, rows = Decimal(0), 0
    pages = paginator.paginate(
        TableName=table.name,
        KeyConditionExpression=Key("pk").eq(f"DAY#{day.isoformat()}"),
        ProjectionExpression="total_paid",
        ConsistentRead=True,
    )
    for page in pages:
        revenue += sum(item["total_paid"] for item in page["Items"])
        rows += page["Count"]
    return revenue, rows
