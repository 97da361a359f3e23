"""What is said to the user when the input does not fit."""

from __future__ import annotations

import re
from typing import NoReturn


class InputError(ValueError):
    """The input does not fit the settings; one line that names the place and the way out."""


#: How a traceback, passed on as text by a Beam worker, ends when the cause was an InputError.
_IN_TRACEBACK = re.compile(r"^(?:\S+\.)?InputError: (.*?)(?: \[while running [^\n]*)?$", re.MULTILINE)


def raise_plainly(error: BaseException) -> NoReturn:
    """Raises the InputError that lies inside ``error``, or ``error`` itself where there is none.

    Beam wraps what a worker raises: another type, the name of the step behind the message, or the whole traceback as
    text. The user is to see the one line.
    """
    cause: BaseException | None = error
    while cause is not None:
        found = _IN_TRACEBACK.findall(f"{type(cause).__name__}: {cause}")
        if found:
            raise InputError(found[-1]) from None
        cause = cause.__cause__
    raise error
