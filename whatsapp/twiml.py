"""TwiML: the XML that answers a message."""

from xml.sax.saxutils import escape, quoteattr

from whatsapp.paths import STATUS_CALLBACK

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def write_reply(text: str, confirms: str | None = None, public_url: str | None = None) -> str:
    """Return a TwiML document with one <Message>, or with none if `text` is empty.

    `confirms` is the id of the conversation whose review the message confirms. It is put into the
    URL of the status callback, because Twilio does not return the SID of a TwiML reply. `action`
    and `statusCallback` are both set, because some WhatsApp accounts use only one of them:
    https://www.twilio.com/docs/messaging/twiml/message. Without `public_url` the URL is relative.
    """
    if not text:
        return f"{XML_DECLARATION}<Response />"
    attributes = ""
    if confirms:
        # Twilio resolves a relative URL against the webhook's.
        base = f"{public_url}/" if public_url else ""
        callback = quoteattr(f"{base}{STATUS_CALLBACK[1:]}?review={confirms}")
        attributes = f" action={callback} statusCallback={callback}"
    message = f"<Message{attributes}>{escape(text)}</Message>"
    return f"{XML_DECLARATION}<Response>{message}</Response>"
