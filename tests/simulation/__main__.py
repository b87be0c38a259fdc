"""Play schedules: `python -m tests.simulation --schedules 1000000 --seed 1`."""

import sys

from tests.simulation.choices import Choices
from tests.simulation.schedule import Theatre

t = Theatre()
import time

b = time.perf_counter()
n = 0
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    o = t.play(Choices(seed))
    n += len(o.choices)
    if o.problems:
        print(seed, o.problems[:3])
        if len(sys.argv) > 3:
            print("\n".join(o.story))
print((time.perf_counter() - b) / (int(sys.argv[2]) - int(sys.argv[1])), n)
t.close()
