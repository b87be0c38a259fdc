"""A schedule is a list of choices: drawn from a seed, or given to be played again."""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Decides what happens, and remembers what was decided.

    0 always stands for what happens where nothing goes wrong, so a list of choices that ends
    goes on without trouble, and a shorter list is a simpler story.
    """

    def __init__(self, seed: int | None = None, given: Sequence[int] = ()) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._given = given
        self.made: list[int] = []

    def pick(self, *weights: int) -> int:
        """Choose one of as many things as there are weights."""
        if self._random is not None:
            at = self._random.randrange(sum(weights))
            choice = next(n for n, upto in enumerate(accumulate(weights)) if at < upto)
        elif len(self.made) < len(self._given):
            choice = self._given[len(self.made)] % len(weights)
        else:
            choice = 0
        self.made.append(choice)
        return choice

    def one_of(self, *things: T) -> T:
        """Choose one of some things, all alike; the first is the simplest."""
        return things[self.pick(*[1] * len(things))]
