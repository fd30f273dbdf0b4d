"""Suspects are by themselves, nobody waits for ever, and neither kind keeps the other from its
turn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gpu_fallback.messages.quarantine import LOOK_S, PATIENCE_S, TURN_S, Quarantine


def told(quarantine: Quarantine[str], name: str, deaths: int = 1, now_s: float = 0.0) -> None:
    """Let one in among others that turns out to be a suspect."""
    quarantine.arrive(name)
    assert name in quarantine.admit(now_s)
    quarantine.suspect(name, deaths, now_s)


def test_a_suspect_begins_at_once_where_there_is_nothing_else() -> None:
    quarantine: Quarantine[str] = Quarantine()
    told(quarantine, "suspect")

    admitted = quarantine.admit(0.0)

    assert (admitted, quarantine.alone, quarantine.closed) == (["suspect"], "suspect", True)


def test_nothing_begins_beside_a_suspect() -> None:
    quarantine: Quarantine[str] = Quarantine()
    told(quarantine, "suspect")
    quarantine.admit(0.0)
    quarantine.arrive("other")

    during = quarantine.admit(1_000.0)
    quarantine.leave("suspect")

    assert during == []
    assert quarantine.admit(1_000.0) == ["other"]


def test_a_suspect_waits_for_what_is_in_to_end_and_lets_nothing_else_begin() -> None:
    quarantine: Quarantine[str] = Quarantine()
    quarantine.arrive("long")
    quarantine.admit(0.0)
    told(quarantine, "suspect")
    quarantine.arrive("early")
    early = quarantine.admit(PATIENCE_S - 1)
    quarantine.arrive("late")
    late = quarantine.admit(PATIENCE_S)

    quarantine.leave("early")
    draining = quarantine.admit(PATIENCE_S + 1)
    quarantine.leave("long")

    assert (early, late, draining) == (["early"], [], [])
    assert quarantine.admit(PATIENCE_S + 2) == ["suspect"]


def test_the_most_suspicious_comes_last() -> None:
    quarantine: Quarantine[str] = Quarantine()
    for name, deaths in (("twice", 2), ("once", 1), ("once more", 1)):
        quarantine.arrive(name)
        quarantine.admit(0.0)
        quarantine.suspect(name, deaths, 0.0)

    order = []
    while admitted := quarantine.admit(0.0):
        order += admitted
        quarantine.leave(admitted[0])

    assert order == ["once", "once more", "twice"]


def test_one_that_is_no_longer_held_is_forgotten_wherever_it_is() -> None:
    quarantine: Quarantine[str] = Quarantine()
    told(quarantine, "suspect")
    quarantine.arrive("waiting")

    for name in ("suspect", "waiting", "unknown"):
        quarantine.leave(name)

    assert quarantine.admit(0.0) == []
    assert not quarantine.closed


def test_what_comes_is_left_to_others_where_a_suspect_takes_too_long() -> None:
    quarantine: Quarantine[str] = Quarantine()
    for name in ("long", "behind"):
        told(quarantine, name)
    quarantine.admit(0.0)
    quarantine.arrive("late")

    early, late = quarantine.give_up(TURN_S - 1), quarantine.give_up(TURN_S)

    assert (early, late, quarantine.give_up(TURN_S)) == ([], ["late"], [])
    quarantine.leave("long")
    assert quarantine.admit(TURN_S) == []
    assert quarantine.admit(TURN_S + LOOK_S) == ["behind"]


def test_what_waits_is_given_away_at_the_end() -> None:
    quarantine: Quarantine[str] = Quarantine()
    told(quarantine, "suspect")
    quarantine.arrive("waiting")

    assert (quarantine.clear(), quarantine.clear()) == (["waiting", "suspect"], [])


def test_others_have_as_long_as_the_suspects_had() -> None:
    quarantine: Quarantine[str] = Quarantine()
    for name in ("first", "second"):
        told(quarantine, name)
    quarantine.admit(0.0)
    quarantine.arrive("other")
    quarantine.leave("first")
    took_s = TURN_S + 10

    admitted = quarantine.admit(took_s)
    before = quarantine.admit(2 * took_s - 1), quarantine.closed
    after = quarantine.admit(2 * took_s), quarantine.closed

    assert admitted == ["other"]
    assert (before, after) == (([], False), ([], True))


def test_a_turn_in_which_nothing_comes_is_short() -> None:
    quarantine: Quarantine[str] = Quarantine()
    for name in ("first", "second"):
        told(quarantine, name)
    quarantine.admit(0.0)
    quarantine.leave("first")

    looking = quarantine.admit(TURN_S), quarantine.closed

    assert looking == ([], False)
    assert quarantine.admit(TURN_S + LOOK_S) == ["second"]


@dataclass
class Ward:
    """Items played through a quarantine: each comes at a time, takes so long, and has met so many
    deaths.
    """

    jobs: list[tuple[float, float, int]]
    quarantine: Quarantine[int] = field(default_factory=Quarantine)
    inside: dict[int, float] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    ended: list[int] = field(default_factory=list)
    now_s: float = 0.0

    def play(self, check: Callable[["Ward"], None]) -> None:
        """Until all have ended, a second at a time."""
        coming = sorted(range(len(self.jobs)), key=lambda number: self.jobs[number][0])
        while len(self.ended) < len(self.jobs):
            while coming and self.jobs[coming[0]][0] <= self.now_s:
                self.quarantine.arrive(coming.pop(0))
            for number in [
                number for number, until_s in self.inside.items() if until_s <= self.now_s
            ]:
                del self.inside[number]
                self.quarantine.leave(number)
                self.ended.append(number)
            self._admit()
            check(self)
            self.now_s += 1.0

    def _admit(self) -> None:
        while admitted := self.quarantine.admit(self.now_s):
            for number in admitted:
                _, takes_s, deaths = self.jobs[number]
                if deaths and number not in self.known:
                    self.known.add(number)
                    self.quarantine.suspect(number, deaths, self.now_s)
                else:
                    self.inside[number] = self.now_s + takes_s


JOBS = st.lists(
    st.tuples(st.floats(0, 200), st.floats(0.5, 60), st.integers(0, 2)), min_size=1, max_size=30
)


@given(JOBS)
def test_a_suspect_is_never_in_with_another_and_all_come_to_an_end(
    jobs: list[tuple[float, float, int]],
) -> None:
    def check(ward: Ward) -> None:
        suspects = [number for number in ward.inside if ward.jobs[number][2]]
        assert not suspects or len(ward.inside) == 1
        assert ward.now_s < 200 + sum(4 * takes_s + 10 for _, takes_s, _ in jobs), (
            "somebody waits for ever"
        )

    ward = Ward(jobs)
    ward.play(check)

    assert sorted(ward.ended) == list(range(len(jobs)))


def test_new_work_goes_on_at_half_its_speed_while_suspects_are_looked_at() -> None:
    suspects = [(0.0, 1.0, 1)] * 150
    others = [(float(second), 1.0, 0) for second in range(300)]
    ward = Ward(suspects + others)
    done: dict[float, int] = {}

    def check(ward: Ward) -> None:
        done[ward.now_s] = sum(number >= len(suspects) for number in ward.ended)

    ward.play(check)

    assert done[300.0] > 0.5 * 300
    assert sum(number < len(suspects) for number in ward.ended[: ward.ended.index(450 - 1)]) == 150
