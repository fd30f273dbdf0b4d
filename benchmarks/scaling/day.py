"""A day of jobs as services see them: a few single ones, bursts in the morning and at noon, and
hours of nothing.
"""

import random

DAY_S = 24 * 3600


def arrivals(seed: int = 7) -> list[int]:
    """The seconds at which jobs come: nothing at night, some work by day, three bursts, one late
    job.
    """
    draw = random.Random(seed)
    by_day = [draw.randrange(8 * 3600, 18 * 3600) for _ in range(40)]
    bursts = [
        int(start_s + draw.uniform(0, spread_s))
        for start_s, spread_s, count in (
            (9.25 * 3600, 600, 1_500),
            (12.5 * 3600, 60, 4_000),
            (15 * 3600, 1_800, 900),
        )
        for _ in range(count)
    ]
    return sorted([*by_day, *bursts, 23 * 3600])
