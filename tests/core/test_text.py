"""A contact is masked to what tells customers apart and identifies none of them."""

import pytest

from core.text import mask


@pytest.mark.parametrize(
    ("contact", "shown"),
    [
        ("+15551234567", "+1…67"),
        ("+4915112345678", "+4…78"),
        ("US.13491208655302741918", "…18"),
        ("Ana Silva", "…va"),
    ],
)
def test_a_mask_keeps_the_ends(contact: str, shown: str) -> None:
    assert mask(contact) == shown


@pytest.mark.parametrize("contact", ["", "+1", "+1555", "+155512", "1234567"])
def test_a_short_contact_is_hidden_whole(contact: str) -> None:
    assert mask(contact) == "…"


@pytest.mark.parametrize("end", ["4 7", "4\n7", "45 7", "4=7", "4 '7"])
def test_a_mask_has_nothing_that_would_break_a_log_line(end: str) -> None:
    assert mask(f"+1555123{end}") == "+1…"
