"""Who guesses the key is slowed down, and who has it never is."""

import hmac
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient, make_app
from tests.support.captures import TEXT, post
from tests.support.servers import serve_here
from web.security.rate_limit import KeyRateLimiter

KEY = "k" * 16
RIGHT, WRONG = {"X-API-Key": KEY}, {"X-API-Key": "x" * 16}
GUESSER, OWNER, PROXY = "203.0.113.9", "198.51.100.7", "127.0.0.1"


def come_from(client: TestClient, peer: str) -> TestClient:
    return TestClient(client.app, client=(peer, 50000))


def ask(client: TestClient, headers: dict[str, str]) -> int:
    status: int = client.get("/api/stats", headers=headers).status_code
    return status


class Clock:
    """A clock that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def production(production: TestClient) -> TestClient:
    """A production app whose clock for guesses stands still: a slow machine gives none back."""
    app: Any = production.app
    app.state.access = replace(app.state.access, key_limiter=KeyRateLimiter(Clock()))
    return production


def test_after_ten_wrong_keys_none_from_there_is_looked_at(production: TestClient) -> None:
    guesser = come_from(production, GUESSER)
    assert [ask(guesser, WRONG) for _ in range(12)] == [401] * 10 + [429] * 2
    refused = guesser.get("/api/reviews", headers=RIGHT)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "6"
    assert refused.json() == {"detail": "Too many wrong keys."}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/reviews.csv"),
        ("GET", "/api/reviews/1"),
        ("DELETE", "/api/reviews/1"),
        ("DELETE", "/api/contacts/1"),
    ],
)
def test_the_guesses_at_one_door_count_at_every_other(
    production: TestClient, method: str, path: str
) -> None:
    guesser = come_from(production, GUESSER)
    for _ in range(5):
        assert ask(guesser, {"Authorization": "Bearer x"}) == 401
        assert ask(guesser, WRONG) == 401
    assert guesser.request(method, path, headers=RIGHT).status_code == 429


def test_each_key_of_a_request_counts(production: TestClient) -> None:
    guesser = come_from(production, GUESSER)
    two = {"Authorization": "Bearer x", **WRONG}
    assert [ask(guesser, two) for _ in range(6)] == [401] * 5 + [429]


def test_the_owner_is_let_in_meanwhile_from_elsewhere(production: TestClient) -> None:
    guesser, owner = come_from(production, GUESSER), come_from(production, OWNER)
    for _ in range(50):
        ask(guesser, WRONG)
    assert ask(owner, RIGHT) == 200


@pytest.mark.parametrize("peer", [GUESSER, "2001:db8::1"])
def test_the_owner_is_let_in_from_where_the_right_key_has_come_before(
    production: TestClient, peer: str
) -> None:
    both = come_from(production, peer)
    assert ask(both, RIGHT) == 200
    assert {ask(both, WRONG) for _ in range(50)} == {401}
    assert ask(both, RIGHT) == 200


def test_behind_a_proxy_that_does_not_tell_from_where_nobody_is_locked_out(
    production: TestClient,
) -> None:
    for peer in (PROXY, "::1", "::ffff:127.0.0.1"):
        everybody = come_from(production, peer)
        assert {ask(everybody, WRONG) for _ in range(50)} == {401}
        assert ask(everybody, RIGHT) == 200


def test_behind_a_proxy_that_tells_from_where_each_address_has_its_own_guesses(
    sqlite_url: str,
) -> None:
    with (
        serve_here(make_app(database_url=sqlite_url, api_key=KEY)) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=60) as proxy,
    ):

        def ask_through_proxy(peer: str, key: dict[str, str]) -> int:
            told = {"X-Forwarded-For": f"192.0.2.1, {peer}", **key}  # the first is the client's own
            return proxy.get("/api/stats", headers=told).status_code

        assert [ask_through_proxy(GUESSER, WRONG) for _ in range(10)] == [401] * 10
        # The clock is real here: on a slow machine a guess may have come back meanwhile.
        assert 429 in (ask_through_proxy(GUESSER, WRONG) for _ in range(100))
        assert ask_through_proxy(OWNER, WRONG) == 401
        assert ask_through_proxy(OWNER, RIGHT) == 200


def test_addresses_of_one_ipv6_network_are_one_and_mapped_ipv4_addresses_are_not(
    production: TestClient,
) -> None:
    for number in range(10):
        assert ask(come_from(production, f"2001:db8:0:1::{number}"), WRONG) == 401
        assert ask(come_from(production, f"::ffff:203.0.113.{number}"), WRONG) == 401
        assert ask(come_from(production, f"64:ff9b::198.51.100.{number}"), WRONG) == 401
    assert ask(come_from(production, "2001:db8:0:1:ffff::1"), WRONG) == 429
    assert ask(come_from(production, "2001:db8:0:2::1"), RIGHT) == 200
    assert ask(come_from(production, "::ffff:203.0.113.99"), WRONG) == 401
    assert ask(come_from(production, "64:ff9b::198.51.100.99"), WRONG) == 401


def test_an_ipv4_address_behind_a_nat64_is_the_same(production: TestClient) -> None:
    for _ in range(5):
        assert ask(come_from(production, GUESSER), WRONG) == 401
        assert ask(come_from(production, f"64:ff9b::{GUESSER}"), WRONG) == 401
    assert ask(come_from(production, f"64:ff9b::{GUESSER}"), WRONG) == 429


def test_without_a_key_nothing_is_guessed(production: TestClient) -> None:
    anybody = come_from(production, GUESSER)
    assert {ask(anybody, {}) for _ in range(50)} == {401}
    assert ask(anybody, RIGHT) == 200


def test_a_guesser_does_not_stop_twilio(production: TestClient) -> None:
    guesser = come_from(production, GUESSER)
    for _ in range(50):
        ask(guesser, WRONG)
    assert post(guesser, "/webhook", TEXT).status_code == 200


def test_on_this_machine_a_wrong_key_is_none_locally(
    make_client: MakeClient, sqlite_url: str
) -> None:
    local = make_client(database_url=sqlite_url, api_key=KEY)
    assert {ask(local, WRONG) for _ in range(50)} == {200}


def test_a_guess_comes_back_every_six_seconds_and_all_within_a_minute() -> None:
    clock = Clock()
    guesses = KeyRateLimiter(clock)
    for _ in range(10):
        assert guesses.seconds_to_wait(GUESSER) == 0
        guesses.note_wrong(GUESSER)
    assert guesses.seconds_to_wait(GUESSER) == 6
    clock.now += 5.5
    assert guesses.seconds_to_wait(GUESSER) == 1
    clock.now += 0.5
    assert guesses.seconds_to_wait(GUESSER) == 0
    guesses.note_wrong(GUESSER)
    assert guesses.seconds_to_wait(GUESSER) == 6
    clock.now += 60
    for _ in range(10):
        assert guesses.seconds_to_wait(GUESSER) == 0
        guesses.note_wrong(GUESSER)
    assert guesses.seconds_to_wait(GUESSER) == 6


def test_an_owner_is_remembered_for_a_day_and_then_waits_no_longer_than_others() -> None:
    clock = Clock()
    guesses = KeyRateLimiter(clock)
    guesses.note_right(OWNER)
    clock.now += 24 * 3600 - 1
    for _ in range(10_000):
        guesses.note_wrong(OWNER)
    assert guesses.seconds_to_wait(OWNER) == 0
    clock.now += 1
    guesses.note_wrong(OWNER)
    assert guesses.seconds_to_wait(OWNER) == 6


def test_more_than_ten_thousand_addresses_are_not_remembered() -> None:
    guesses = KeyRateLimiter()
    for number in range(30_000):
        guesses.note_wrong(str(number))
        guesses.note_right(str(number))
    assert len(guesses._all_back_at) == len(guesses._right_until) == KeyRateLimiter.MAX_ADDRESSES
    assert guesses.seconds_to_wait("29999") == 0


def test_signature_and_key_are_compared_in_constant_time(
    production: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def record(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", record)
    assert ask(production, WRONG) == 401
    assert compared == [(b"x" * 16, b"k" * 16)]
    compared.clear()
    assert post(production, "/webhook", TEXT, **{"X-Twilio-Signature": "x" * 28}).status_code == 403
    assert {given for given, _ in compared} == {b"x" * 28}
    assert {len(ours) for _, ours in compared} == {28}
