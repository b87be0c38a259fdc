"""Mutants of what speaks HTTP, and of Twilio's protocol."""

from tests.campaigns.mutants.changes import Change, mutant

WEB_MUTANTS = [
    mutant(
        "the last status counts, not the highest",
        Change(
            "reviews.repository:_RAISE",
            'Review.status.in_(sa.bindparam("lower", expanding=True)),\n',
            "\n",
        ),
        sign="has a review with status",
    ),
    mutant(
        "a signature need not cover the fields",
        Change(
            "whatsapp.signature:is_signed",
            'sign(f"{address}{fields}", token)',
            "sign(address, token)",
        ),
        noticed_by="tests/whatsapp/test_signature.py",
        sign="test_a_published_signature_is_believed",
    ),
    mutant(
        "a field may come twice, and the last counts",
        Change(
            "whatsapp.inbound:TwilioAccount._check",
            "if names.count(name) > 1:",
            "if names.count(name) > 2:",
        ),
        noticed_by="tests/web/test_refusals.py",
        sign="test_a_field_that_must_be_one_is_refused_when_it_comes_twice",
    ),
    mutant(
        "requests are signed for whatever address they name themselves",
        Change("web.form_body:read_signed_form", "base = public_url\n", 'base = ""\n'),
        noticed_by="tests/web/test_signed_address.py",
        sign="test_production_judges_by_its_public_address_alone",
    ),
    mutant(
        "whoever has a key, any key, may read",
        Change(
            "web.security.auth:verify_key",
            "any(_equal(key, access.api_key) for key in keys)",
            "keys",
        ),
        noticed_by="tests/web/security/test_auth.py",
        sign="test_production_stays_shut_without_the_key",
    ),
    mutant(
        "a signed form cut anew is another message",
        Change(
            "whatsapp.inbound:TwilioAccount._check",
            'if any(sid != fields.get("MessageSid") for sid in _SIGNED_SID.findall(signed)):',
            "if False:",
        ),
        noticed_by="tests/campaigns/hostile/test_resplitting.py",
        sign="test_words_that_hold_fields_make_no_other_message_of_a_signed_one",
    ),
    mutant(
        "a connection stays open whose body was left unread",
        Change(
            "web.form_body:_unread",
            'detail, headers={"Connection": "close"})',
            "detail)",
        ),
        noticed_by="tests/campaigns/hostile/test_sockets.py",
        sign="hung_up_on",
    ),
    mutant(
        "a guesser is never slowed down",
        Change(
            "web.security.rate_limit:KeyRateLimiter.seconds_to_wait",
            "return max(0, math.ceil(left))",
            "return 0",
        ),
        noticed_by="tests/campaigns/hostile/test_guessing.py",
        sign="test_after_ten_wrong_keys_none_from_there_is_looked_at",
    ),
]
