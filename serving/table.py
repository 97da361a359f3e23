"""A ranked list for people to read."""

from __future__ import annotations

import sys
from typing import TextIO

from serving.response import RankResponse

_HEADERS = ("rank", "video", "score", "evv", "fvv", "gvv")


def print_table(response: RankResponse, file: TextIO | None = None, *, top: int | None = None) -> None:
    """Prints a ranked list: a drawn table on a terminal, plain aligned text anywhere else.

    Args:
        response: The ranked list.
        file: Where to; standard output by default.
        top: How many videos; all by default.
    """
    file = file or sys.stdout
    if file.isatty():
        _print_rich(response, file, top)
    else:
        file.write(plain_table(response, top=top) + "\n")


def plain_table(response: RankResponse, *, top: int | None = None) -> str:
    """The ranked list as aligned text, one line per video under a line of headings."""
    rows = [_HEADERS, *_cells(response, top)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if header == "video" else cell.rjust(width)
            for header, cell, width in zip(_HEADERS, row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def _cells(response: RankResponse, top: int | None) -> list[tuple[str, ...]]:
    return [
        (str(v.rank), v.video_id, f"{v.score:.4f}", f"{v.evv:.3f}", f"{v.fvv:.3f}", f"{v.gvv:.3f}")
        for v in response.videos[:top]
    ]


def _print_rich(response: RankResponse, file: TextIO, top: int | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{response.model} version {response.version}")
    for header in _HEADERS:
        table.add_column(header, justify="left" if header == "video" else "right")
    for cells in _cells(response, top):
        # Text: an id such as "[b]" is data, not markup.
        table.add_row(*(Text(cell) for cell in cells))
    Console(file=file).print(table)
