"""Reads TwiML as strictly as Twilio."""

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

TWIML_TYPES = {"text/xml", "application/xml", "text/html"}


class NotAnswered(Exception):
    """The webhook gave no usable answer: a customer would have seen silence. The text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Twilio makes of a TwiML document: the words it sends, and where it reports on them."""

    text: str | None
    callback: str | None = None


def read_twiml(response: Any) -> Answer:
    """Read an answer as strictly as Twilio does. Raises NotAnswered.

    https://www.twilio.com/docs/messaging/twiml
    """
    if response.status_code != 200:
        raise NotAnswered(f"status {response.status_code}: {response.text[:200]}")
    kind = response.headers.get("content-type", "").partition(";")[0]
    if kind not in TWIML_TYPES:
        raise NotAnswered(f"content type {kind!r} is not TwiML (error 12300)")
    if "<!DOCTYPE" in response.text:
        raise NotAnswered("TwiML has no document type")
    try:
        root = ElementTree.fromstring(response.content)  # noqa: S314 - no DOCTYPE, no entities
    except ElementTree.ParseError as error:
        raise NotAnswered(f"not XML (error 12100): {error}") from None
    if root.tag != "Response" or any(child.tag != "Message" for child in root) or len(root) > 1:
        raise NotAnswered("not a <Response> with one <Message> at most")
    if not len(root):
        return Answer(None)
    message = root[0]
    words = message.text or ""
    if not words or len(words.encode()) >= 1600:
        raise NotAnswered(f"{len(words.encode())} bytes of text (error 14103)")
    callback = message.get("action")
    if callback != message.get("statusCallback"):
        raise NotAnswered("action and statusCallback differ, which Twilio leaves undefined")
    return Answer(words, callback)
