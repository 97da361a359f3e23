"""Stray quotes in CSV: a quote that nobody closes must not swallow the rows behind it. Pure.

CSV lets a quoted value hold line breaks, so to a parser the rows after a value that begins with a stray quote are a
part of that value, up to the next quote, which may come many rows later or never. A quote is taken for stray when there
comes, before it is closed, a line that is a whole row by itself, or the end of the file. Then the quotes of its line
become U+FFFD, as broken characters do, which costs at most that row. (Stray quotes in two rows side by side may still
pass for one value over two lines: then these two, and no others, come out as one row.)
"""

from __future__ import annotations

import csv
import re

import numpy as np

_QUOTE, _LINE = b'"', re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|$)")
_REPLACED = "\N{REPLACEMENT CHARACTER}".encode()

#: Tables with fewer columns are left alone: a line of prose may have as many commas as their rows.
_FEWEST_FIELDS = 5

#: Bytes that a quoted value may have, about, before it is no longer looked at.
_LONGEST_VALUE = 16 << 20


class QuoteMender:
    """Mends a CSV file, given piece by piece.

    Args:
        fields: The number of columns of the file.
    """

    def __init__(self, fields: int) -> None:
        self._fields = fields
        self._held = b""

    def mend(self, piece: bytes, final: bool) -> bytes:
        """What can be said so far: the text up to a line whose quotes are judged; with ``final``, all of it."""
        text = self._held + piece
        whole = len(text) if final else 1 + max(text.rfind(b"\n"), text.rfind(b"\r"))
        text, self._held = text[:whole], text[whole:]
        if _QUOTE not in text or _all_well_placed(text):
            return text
        lines = [line for line in _LINE.findall(text) if line]
        at = 0
        while at < len(lines):
            if _QUOTE not in lines[at] or not _open_after(lines[at], False):
                at += 1
                continue
            end = self._end_of_record(lines, at, final)
            if end is None:
                self._held = b"".join(lines[at:]) + self._held
                return b"".join(lines[:at])
            if end == at:
                lines[at] = lines[at].replace(_QUOTE, _REPLACED)
            at = max(end, at + 1)
        return b"".join(lines)

    def _end_of_record(self, lines: list[bytes], start: int, final: bool) -> int | None:
        """One past the last line of the record that begins with a line whose last value is open; ``start`` itself where
        the quote is stray; None where the lines do not tell."""
        inside, size = True, 0
        for at in range(start + 1, len(lines)):
            if self._is_row(lines[at]):
                return start
            inside, size = _open_after(lines[at], inside), size + len(lines[at])
            if not inside:
                return at + 1
            if size > _LONGEST_VALUE:
                return at + 1
        return start if final else None

    def _is_row(self, line: bytes) -> bool:
        if self._fields < _FEWEST_FIELDS or not line.strip() or not _all_well_placed(line):
            return False
        return len(next(csv.reader([line.decode(errors="replace").rstrip("\r\n")]), ())) == self._fields


def _all_well_placed(text: bytes) -> bool:
    """Whether on every line the quotes come in pairs, around a value each (or doubled inside one)."""
    codes = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    quotes = np.flatnonzero(codes == ord(_QUOTE))
    ends = np.flatnonzero((codes == ord("\n")) | (codes == ord("\r")))
    before = np.searchsorted(quotes, ends)  # quotes up to each end of a line
    if (np.diff(before) % 2).any():
        return False
    opening, closing = quotes[::2], quotes[1::2]
    edge = np.zeros(256, bool)
    edge[[ord(c) for c in ',\r\n"']] = True
    return bool(edge[codes[opening - 1]].all() and edge[codes[closing + 1]].all())


def _open_after(line: bytes, inside: bool) -> bool:
    """Whether a quoted value is open at the end of a line, at whose beginning one was open (``inside``) or not."""
    line, at = line.rstrip(b"\r\n"), 0
    if not inside and line.startswith(_QUOTE):
        inside, at = True, 1
    while True:
        if inside:
            at = line.find(_QUOTE, at)
            if at < 0:
                return True
            if line.startswith(_QUOTE, at + 1):
                at += 2  # a doubled quote stands for one
                continue
        at = line.find(b",", at)
        if at < 0:
            return False
        inside = line.startswith(_QUOTE, at + 1)
        at += 2 if inside else 1
