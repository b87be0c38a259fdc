"""The sentences that customers read."""

from conversation.model import State

GREETING = "Hi! Which product is this review for?"

GOT_PRODUCT = "Okay, got it. What's your name?"

GOT_NAME = "Please send your review for {product}."

GOT_REVIEW = "Thanks {name} -- your review for {product} has been recorded."

QUESTIONS: dict[str, str] = {
    State.ASK_NAME: "Which product is this review for?",
    State.ASK_REVIEW: "What's your name?",
    State.FINISH: "Please send your review for {product}.",
}

NOT_TEXT = "Sorry, I can only read text."

TOO_LONG = "Sorry, that is longer than {limit:,} characters."

APOLOGY = "Sorry, I couldn't save that. Please send it again in a minute."
