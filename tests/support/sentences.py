"""The bot's sentences, for tests of other things; tests/conversation has their words."""

from conversation.wording import GOT_REVIEW

THANKS = GOT_REVIEW.partition("{")[0]
"""How the reply to a finished review begins."""


def is_thanks(reply: str) -> bool:
    """Say whether a reply confirms a review, whoever wrote it."""
    return reply.startswith(THANKS)
