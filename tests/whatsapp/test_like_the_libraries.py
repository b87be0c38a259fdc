"""Our own parsing, signing and writing have the results of the libraries, for any input."""

from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import ImmutableMultiDict as MultiDict
from twilio.request_validator import RequestValidator
from twilio.twiml.messaging_response import MessagingResponse

from core.text import clean
from tests.conftest import PUBLIC_URL, TOKEN
from web.form_body import parse
from whatsapp.signature import canonical_form, is_signed
from whatsapp.twiml import write_reply

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PIECES = st.sampled_from([b"a", b"=", b"&", b"+", b"%", b"%2", b"%20", b"%C3%A9", b"%FF", b";"])


@UNTIMED
@given(st.lists(PIECES | st.binary(max_size=3)).map(b"".join))
def test_any_bytes_are_parsed_as_urllib_parses_them(body: bytes) -> None:
    assert parse(body) == parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


@UNTIMED
@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_what_was_sent_is_read(pairs: list[tuple[str, str]]) -> None:
    assert parse(urlencode(pairs, errors="replace").encode()) == [
        tuple(word.encode("utf-8", "replace").decode() for word in pair) for pair in pairs
    ]


WORDS = st.text(max_size=8)
ADDRESSES_CALLED = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["h.example", "me@h.example", "127.0.0.1"]),
    st.sampled_from(["", ":80", ":443", ":8443"]),
    st.sampled_from(["/webhook", "/a;b/webhook", "/webhook?review=SM1", "/webhook?a=%20&b="]),
)


@UNTIMED
@given(ADDRESSES_CALLED, st.lists(st.tuples(WORDS, WORDS), max_size=6), st.data())
def test_a_signature_is_believed_where_twilios_sdk_believes_it(
    url: str, pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    sdk, form = RequestValidator(TOKEN), MultiDict(pairs)
    signed_url = data.draw(st.sampled_from([url]) | ADDRESSES_CALLED)
    signed = data.draw(st.sampled_from([form]) | st.sampled_from([MultiDict(pairs[1:])]))
    given_signature = sdk.compute_signature(signed_url, signed)
    believed = sdk.validate(url, form, given_signature)
    assert is_signed(given_signature, ["another", TOKEN], url, canonical_form(pairs)) == believed


@UNTIMED
@given(st.text(min_size=1), st.none() | st.text("ABC&<>\"'\n\t \r", min_size=1))
def test_a_reply_is_written_as_twilios_sdk_writes_it(text: str, confirms: str | None) -> None:
    text = clean(text) or "x"
    sdk = MessagingResponse()
    callback = f"{PUBLIC_URL}/twilio-status-callback?review={confirms}"
    sdk.message(text, **({"action": callback, "status_callback": callback} if confirms else {}))
    ours, theirs = (
        ElementTree.fromstring(twiml)  # noqa: S314 - our own and the SDK's
        for twiml in (write_reply(text, confirms, PUBLIC_URL), str(sdk))
    )
    assert ElementTree.canonicalize(ElementTree.tostring(ours)) == ElementTree.canonicalize(
        ElementTree.tostring(theirs)
    )
