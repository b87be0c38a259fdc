"""TwiML: the XML that answers a message."""

from xml.sax.saxutils import escape, quoteattr

from whatsapp.paths import STATUS_CALLBACK

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def write_reply(text: str, confirms: str | None = None, public_url: str | None = None) -> str:
    """Write TwiML with one <Message>, or with none where there is nothing to say.

    `confirms` is the conversation whose review the message confirms. The status callback carries
    it, as nobody tells us the SID of a TwiML reply. `action` and `statusCallback` are both set
    since WhatsApp accounts honour one or the other:
    https://www.twilio.com/docs/messaging/twiml/message.
    """
    if not text:
        return f"{XML_DECLARATION}<Response />"
    attributes = ""
    if confirms:
        # Relative, it is resolved against the webhook's own address.
        base = f"{public_url}/" if public_url else ""
        callback = quoteattr(f"{base}{STATUS_CALLBACK[1:]}?review={confirms}")
        attributes = f" action={callback} statusCallback={callback}"
    message = f"<Message{attributes}>{escape(text)}</Message>"
    return f"{XML_DECLARATION}<Response>{message}</Response>"
