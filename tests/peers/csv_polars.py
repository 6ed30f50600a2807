"""Reads a sales file with Polars: every date and number is checked and exact, and the total is summed.

Prints rows, the total in units of 0.00001, and what that took, as JSON. Usage: csv_polars.py FILE
"""

import os
import sys

os.environ["POLARS_MAX_THREADS"] = "1"
import polars as pl  # noqa: E402

from csv_cost import NUMBERS, TOTAL, tell  # noqa: E402

EXACT = pl.Decimal(38, 5)


def exact(column: str) -> pl.Expr:
    """A column as a decimal. Grouped thousands and "---" for nothing are the exports' own."""
    text = pl.col(column)
    return pl.when(text != "---").then(text).str.replace_all(",", "", literal=True).cast(EXACT)


def main(path: str) -> None:
    """The command."""
    slashed = pl.col("Sale Date").str.to_date("%m/%d/%Y", strict=False)
    day = pl.coalesce(slashed, pl.col("Sale Date").str.to_date("%Y-%m-%d", strict=False))
    rows = pl.scan_csv(path, infer_schema=False, low_memory=True)
    query = rows.select(
        pl.len().alias("rows"),
        exact(TOTAL).sum().alias("total"),
        day.min().alias("first"),
        day.max().alias("last"),
        *(exact(column).sum().alias(column) for column in NUMBERS),
    )

    def read() -> tuple[int, int]:
        found = query.collect(engine="streaming").row(0, named=True)
        return found["rows"], int(found["total"] * 100_000)

    tell(read)


if __name__ == "__main__":
    main(sys.argv[1])
