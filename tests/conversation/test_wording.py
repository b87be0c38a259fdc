"""The bot's sentences, word for word. Other tests use the constants, or assert outcomes."""

from conversation import wording
from conversation.model import State


def test_the_four_sentences_of_a_review() -> None:
    given = {"product": "iPhone 15", "name": "Sarah"}
    assert wording.GREETING == "Hi! Which product is this review for?"
    assert wording.GOT_PRODUCT == "Okay, got it. What's your name?"
    assert wording.GOT_NAME.format(**given) == "Please send your review for iPhone 15."
    assert wording.GOT_REVIEW.format(**given) == (
        "Thanks Sarah -- your review for iPhone 15 has been recorded."
    )


def test_a_question_is_asked_again_in_these_words() -> None:
    assert {
        State.ASK_NAME: "Which product is this review for?",
        State.ASK_REVIEW: "What's your name?",
        State.FINISH: "Please send your review for {product}.",
    } == wording.QUESTIONS


def test_the_sentences_for_what_goes_wrong() -> None:
    assert wording.NOT_TEXT == "Sorry, I can only read text."
    assert wording.TOO_LONG.format(limit=8000) == "Sorry, that is longer than 8,000 characters."
    assert wording.APOLOGY == "Sorry, I couldn't save that. Please send it again in a minute."
