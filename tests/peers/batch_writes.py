"""Puts any number of items into a table by BatchWriteItem, several requests at once.

WRITERS is the most requests at once; with 1 they follow each other.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

WRITERS = int(os.environ.get("WRITERS", "4"))
PART = 250

pool = ThreadPoolExecutor(WRITERS)


def put_all(table, items: Iterable[dict]) -> None:
    """Puts `items`, of which no two may have the same key."""
    rest = parts(items)
    first = next(rest, [])
    if WRITERS == 1 or len(first) < PART:
        put_part(table, first)
        for part in rest:
            put_part(table, part)
        return
    under_way = deque([pool.submit(put_part, table, first)])
    for part in rest:
        under_way.append(pool.submit(put_part, table, part))
        if len(under_way) > 2 * WRITERS:
            under_way.popleft().result()
    for put in under_way:
        put.result()


def parts(items: Iterable[dict]) -> Iterator[list[dict]]:
    """`items` in order, cut into lists of at most PART."""
    items = iter(items)
    while part := list(islice(items, PART)):
        yield part


def put_part(table, items: list[dict]) -> None:
    """Puts some items, one request after the other."""
    with table.batch_writer() as writer:
        for item in items:
            writer.put_item(Item=item)
