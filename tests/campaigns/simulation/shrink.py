"""Find the simplest schedule that still fails: as few choices as possible that are not 0."""

from collections.abc import Callable, Sequence

MAX_TRIES = 3_000


def shrink(choices: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
    """Calm more and more of a failing schedule, as long as it fails; `choices` must."""
    best, tries = [*choices], 0

    def better(candidate: list[int]) -> bool:
        nonlocal best, tries
        if candidate == best or tries >= MAX_TRIES:
            return False
        tries += 1
        if fails(candidate):
            best = candidate
            return True
        return False

    improved = True
    while improved and tries < MAX_TRIES:
        improved = False
        size = len(best)
        while size:
            place = 0
            while place < len(best):
                # Taken out, or calm; taken out, all that follows means something else.
                calm = [*best[:place], *[0] * size, *best[place + size :]][: len(best)]
                if better(calm) or better(best[:place] + best[place + size :]):
                    improved = True
                place += size
            size //= 2
        for place, choice in enumerate(best):
            for smaller in range(1, choice):
                if place < len(best) and better([*best[:place], smaller, *best[place + 1 :]]):
                    improved = True
                    break
    return without_calm_end(best)


def without_calm_end(choices: Sequence[int]) -> list[int]:
    """Leave out the last choices, those that are 0: they are made where none are given."""
    end = max((place for place, choice in enumerate(choices, 1) if choice), default=0)
    return [*choices[:end]]
