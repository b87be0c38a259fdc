"""A form's body is parsed as the standard library does it."""

from urllib.parse import parse_qsl, urlencode

from hypothesis import given
from hypothesis import strategies as st

from forms import parse

PIECES = st.sampled_from([b"a", b"=", b"&", b"+", b"%", b"%2", b"%20", b"%C3%A9", b"%FF", b";"])


@given(st.lists(PIECES | st.binary(max_size=3)).map(b"".join))
def test_any_bytes_are_parsed_as_urllib_parses_them(body: bytes) -> None:
    assert parse(body) == parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_what_was_sent_is_read(pairs: list[tuple[str, str]]) -> None:
    assert parse(urlencode(pairs, errors="replace").encode()) == [
        tuple(word.encode("utf-8", "replace").decode() for word in pair) for pair in pairs
    ]
