"""The ranked list for people."""

import io

from serving.response import RankedVideo, RankResponse
from serving.table import plain_table, print_table

RESPONSE = RankResponse(
    (RankedVideo(1, "v-long-name", 1.25, 0.75, 0.5, 0.125), RankedVideo(2, "[b]", -0.5, 0.1, 0.1, 0.7)), "skiprank", 3
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_text():
    assert plain_table(RESPONSE).splitlines() == [
        "rank  video          score    evv    fvv    gvv",
        "   1  v-long-name   1.2500  0.750  0.500  0.125",
        "   2  [b]          -0.5000  0.100  0.100  0.700",
    ]
    assert len(plain_table(RESPONSE, top=1).splitlines()) == 2


def test_plain_text_where_there_is_no_terminal():
    out = io.StringIO()
    print_table(RESPONSE, out)
    assert out.getvalue() == plain_table(RESPONSE) + "\n"


def test_a_drawn_table_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = Terminal()
    print_table(RESPONSE, out)
    text = out.getvalue()
    assert "skiprank version 3" in text
    assert "[b]" in text
    assert "─" in text
    assert len(text.splitlines()) > 4
