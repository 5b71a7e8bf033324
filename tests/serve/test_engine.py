"""The text side of the own engine: pieces join to the whole text, stop strings cut, whatever the pieces are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarft.serve.engine import Text


def decode(ids: Sequence[int]) -> str:
    """Bytes as tokens."""
    return bytes(ids).decode("utf-8", errors="replace")


def pieces(text: str, stops: list[str]) -> tuple[list[str], bool]:
    made = Text(decode, stops)
    found = []
    for byte in text.encode():
        found.append(made.push(byte))
        if made.stopped:
            return found, True
    return [*found, made.flush()], made.stopped


@given(
    st.text(alphabet="abé漢🙂 \n", max_size=30), st.lists(st.text(alphabet="abé🙂", min_size=1, max_size=4), max_size=3)
)
def test_pieces_are_the_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    found, stopped = pieces(text, stops)
    first = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
    assert stopped == (first is not None)
    joined = "".join(found)
    assert text.startswith(joined) and "�" not in joined
    if first is None:
        assert joined == text
    else:
        # the stop that is complete first cuts; another may have begun before it
        assert any(text[len(joined) :].startswith(stop) for stop in stops)


@pytest.mark.parametrize(("text", "stops", "given"), [("one two", ["wo"], "one t"), ("abab", ["abc"], "abab")])
def test_what_may_be_a_stop_is_held_back(text: str, stops: list[str], given: str) -> None:
    found, _ = pieces(text, stops)
    assert "".join(found) == given and all(not piece.endswith(stops[0][0]) for piece in found[:-1])
