"""Reads a sales file with DuckDB: every date and number is checked and exact, and the total is summed.

Prints rows, the total in units of 0.00001, and what that took, as JSON. Usage: csv_duckdb.py FILE
"""

import csv
import sys
from pathlib import Path

import duckdb

from csv_cost import NUMBERS, TOTAL, tell


def main(path: str) -> None:
    """The command."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        types = dict.fromkeys(next(csv.reader(file)), "VARCHAR")
    types |= dict.fromkeys([*NUMBERS, TOTAL], "DECIMAL(18, 5)") | {"Sale Date": "DATE"}
    connection = duckdb.connect(config={"threads": 1, "preserve_insertion_order": False})
    numbers = ", ".join(f'sum("{number}")' for number in NUMBERS)
    # Grouped thousands and "---" for nothing are the exports' own.
    query = f"""
        SELECT count(*), CAST(sum("{TOTAL}") * 100000 AS HUGEINT), min("Sale Date"), max("Sale Date"), {numbers}
        FROM read_csv(
            ?, columns = {types!r}, auto_detect = false, header = true, delim = ',', quote = '"', escape = '"',
            thousands = ',', nullstr = ['', '---'], dateformat = '%m/%d/%Y'
        )
    """
    tell(lambda: connection.execute(query, [path]).fetchone()[:2])


if __name__ == "__main__":
    main(sys.argv[1])
