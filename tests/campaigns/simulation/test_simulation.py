"""Schedules in virtual time: whatever goes wrong in them, nothing is lost and nothing doubled."""

from collections.abc import Iterator, Sequence

import pytest

from tests.campaigns.simulation.choices import Choices
from tests.campaigns.simulation.playing import stage
from tests.campaigns.simulation.schedule import Theatre
from tests.campaigns.simulation.shrink import shrink, without_calm_end
from tests.support import tiers

CHUNK = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first" in metafunc.fixturenames:
        tier = "quick" if tiers.is_left_out(metafunc.config) else "full"
        metafunc.parametrize("first", range(0, tiers.SCHEDULES[tier], CHUNK))


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with stage() as folder:
        theatre = Theatre(folder)
        yield theatre
        theatre.close()


def test_no_schedule_loses_or_doubles_anything(theatre: Theatre, first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = theatre.play(Choices(seed))
        assert not outcome.problems, (
            f"python -m tests.campaigns.simulation --schedules 1 --seed {seed}: {outcome.problems}"
        )


def test_a_schedule_is_the_same_each_time(theatre: Theatre) -> None:
    first = theatre.play(Choices(7))
    assert theatre.play(Choices(7)) == first
    assert theatre.play(Choices(given=first.choices)) == first


def test_without_trouble_every_customer_is_thanked_at_once(theatre: Theatre) -> None:
    outcome = theatre.play(Choices())
    assert outcome.problems == []
    assert outcome.counts == {"deliveries": 4}


def test_a_failing_schedule_is_shrunk_to_what_makes_it_fail() -> None:
    made = [0, 3, 0, 1, 4, 0, 0, 2, 0, 5, 0]

    def fails(choices: Sequence[int]) -> bool:
        return sum(choice >= 2 for choice in choices) >= 2

    assert shrink(made, fails) == [2, 2]


def test_a_story_is_the_same_without_its_calm_end(theatre: Theatre) -> None:
    outcome = theatre.play(Choices(7))
    shorter = without_calm_end([*outcome.choices, 20, 0, 0])
    assert shorter == [*outcome.choices, 20]
    assert theatre.play(Choices(given=without_calm_end(outcome.choices))) == outcome
