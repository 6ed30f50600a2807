"""A sales file's numbers, and what reading them costs this process."""

import json
import resource
import time
from collections.abc import Callable


NUMBERS = [
    "Item price (excluding tax)",
    "Quantity",
    "Subtotal (excluding tax)",
    "Discount %",
    "Discount amount",
    "Tax",
    "Item Total",
]
TOTAL = "Total Paid w/ Payment Method"


def tell(read: Callable[[], tuple[int, int]]) -> None:
    """Prints what was read, the seconds of processor that it took, and the bytes that the process held at most."""
    began = time.process_time()
    rows, units = read()
    cpu = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": rows, "units": int(units), "cpu": cpu, "peak": peak}))
