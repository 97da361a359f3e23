"""From the values that a log has to the values that are counted with: whole numbers and text. Pure and vectorised."""

from __future__ import annotations

import contextlib
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.play_log.batches import Bools, Ints
from components.play_log.columns import TEXT

#: A whole number written with a fraction: 12.0 and 12 are the same id or category, whatever wrote the file.
_WHOLE_WITH_FRACTION = r"^(-?[0-9]+)\.0+$"
_INT64 = np.iinfo(np.int64)
_SAFE_FLOAT = float(2**63)


def _flat(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def to_text(column: pa.Array) -> pa.Array:
    """The column as text without nulls ('' stands for them): whole numbers lose a fraction of zeros."""
    column = _flat(column)
    if pa.types.is_floating(column.type):
        column = _floats_as_text(column)
    elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = pa.array([None if v is None else v.decode(errors="replace") for v in column.to_pylist()], TEXT)
    text = pc.fill_null(column.cast(TEXT), "")
    if pc.any(pc.ends_with(text, ".0")).as_py() or pc.any(pc.ends_with(text, ".00")).as_py():
        encoded = text.dictionary_encode()
        unique = pc.replace_substring_regex(encoded.dictionary, _WHOLE_WITH_FRACTION, r"\1")
        text = unique.take(encoded.indices)
    return text


def _floats_as_text(column: pa.Array) -> pa.Array:
    """Floats as text; whole ones below 2^53 as whole numbers, NaN as null."""
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = np.isfinite(values)
    whole = known & (np.abs(values) < 2**53)
    whole[whole] = values[whole] == np.floor(values[whole])
    numbers = pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole).cast(TEXT)
    if (whole == known).all():
        return numbers
    others = pa.array([repr(v) if k and not w else None for v, k, w in zip(values.tolist(), known, whole, strict=True)])
    return pc.coalesce(numbers, others.cast(TEXT))


def to_numbers(column: pa.Array, shift: int = 0) -> tuple[Ints, Bools, Bools]:
    """The column, times 10^``shift``, as whole numbers; fractions are cut off (of negative numbers, downwards).

    A float is taken for the decimal number that it stands for, as far as a hundredth after the shift.

    Returns:
        values: int64[n], 0 where there is none.
        missing: bool[n], null or blank.
        wrong: bool[n], no finite number, or none that fits int64.
    """
    column = _flat(column)
    kind = column.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        missing = column.is_null().to_numpy(zero_copy_only=False)
        values, wrong = _shifted(pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), shift)
        return values, missing, wrong
    if pa.types.is_floating(kind):
        return _floats_to_numbers(column, shift)
    return _text_to_numbers(pc.utf8_trim_whitespace(to_text(column)), shift)


def _shifted(values: Ints, shift: int) -> tuple[Ints, Bools]:
    """The values times 10^shift, and which of them are too large for that (these become 0)."""
    if not shift:
        return values, np.zeros(len(values), bool)
    limit = _INT64.max // 10**shift
    wrong = (values > limit) | (values < -limit)
    return np.where(wrong, 0, values) * 10**shift, wrong


def _floats_to_numbers(column: pa.Array, shift: int) -> tuple[Ints, Bools, Bools]:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.floor(np.round(values * 10**shift, 2)) if shift else np.floor(values)
    fits = np.isfinite(values) & (values >= -_SAFE_FLOAT) & (values < _SAFE_FLOAT)
    return np.where(fits, values, 0).astype(np.int64), missing, ~fits & ~missing


def _text_to_numbers(text: pa.Array, shift: int) -> tuple[Ints, Bools, Bools]:
    # The common case is a column of whole numbers, which Arrow reads; but it takes 0x10 for one, too.
    if not pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():
        with contextlib.suppress(pa.ArrowInvalid):
            values, wrong = _shifted(text.cast(pa.int64()).to_numpy(), shift)
            return values, np.zeros(len(text), bool), wrong
    missing = pc.equal(text, "").to_numpy(zero_copy_only=False)
    # 18 digits fit int64 for certain, and cutting the fraction as text keeps digits that a float would lose.
    plain = pc.match_substring_regex(text, rf"^[0-9]{{1,{18 - shift}}}(\.[0-9]*)?$")
    digits = pc.replace_substring_regex(pc.if_else(plain, text, "0"), r"\.[0-9]*$", "")
    if shift:
        fraction = pc.replace_substring_regex(pc.if_else(plain, text, "0"), r"^[0-9]*\.?", "")
        fraction = pc.utf8_rpad(pc.utf8_slice_codeunits(fraction, 0, shift), shift, "0")
        digits = pc.binary_join_element_wise(digits, fraction, pa.scalar("", TEXT))
    values = digits.cast(pa.int64()).to_numpy().copy()
    wrong = np.zeros(len(text), bool)
    odd = np.flatnonzero(~plain.to_numpy(zero_copy_only=False) & ~missing)
    if len(odd):
        encoded = text.take(pa.array(odd)).dictionary_encode()
        found = [_odd_number(t, shift) for t in encoded.dictionary.to_pylist()]
        where = encoded.indices.to_numpy()
        values[odd] = np.array([0 if v is None else v for v in found], np.int64)[where]
        wrong[odd] = np.array([v is None for v in found])[where]
    return values, missing, wrong


def _odd_number(text: str, shift: int) -> int | None:
    """A number written in an uncommon way (sign, exponent, 19 digits) times 10^shift, or None."""
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return None
    if "_" in text or not number.is_finite() or number.adjusted() > 18:
        return None
    floor: Any = number.scaleb(shift).to_integral_value(decimal.ROUND_FLOOR)
    value = int(floor)
    return value if _INT64.min <= value <= _INT64.max else None
