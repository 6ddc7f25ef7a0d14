import gc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevit_runtimes import timing
from edgevit_runtimes.errors import BadSetting
from edgevit_runtimes.timing import Timings, interleave, measure, ratio_interval

SECOND = 1_000_000_000


class Clock:
    """A clock that only the timed calls move, so that nothing here depends on this machine."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[str] = []

    def takes(self, seconds: float, name: str = "run") -> Callable[[], int]:
        def run() -> int:
            self.calls.append(name)
            self.now += round(seconds * SECOND)
            return round(seconds * SECOND)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter_ns", lambda: clock.now)
    return clock


def test_percentiles_are_those_of_numpy_in_ms() -> None:
    samples = tuple(np.random.default_rng(0).uniform(0.001, 0.1, 101))
    timings = Timings(1.0, 0.5, samples)
    for percent, value in (
        (10, timings.p10),
        (50, timings.p50),
        (90, timings.p90),
        (99, timings.p99),
    ):
        assert value == pytest.approx(1e3 * np.percentile(samples, percent))
    assert timings.mean == pytest.approx(1e3 * np.mean(samples))
    assert np.isnan(Timings(1.0, 0.5, ()).p50)


def test_at_least_the_runs(clock: Clock) -> None:
    samples = measure(clock.takes(0.01), warmup=3, runs=20, min_secs=0.0, max_secs=100.0)
    assert samples == (0.01,) * 20
    assert len(clock.calls) == 23


def test_at_least_the_shortest_time(clock: Clock) -> None:
    samples = measure(clock.takes(0.01), warmup=0, runs=5, min_secs=1.0, max_secs=100.0)
    assert len(samples) == 100


@given(
    seconds=st.floats(0.001, 5.0),
    warmup=st.integers(0, 20),
    runs=st.integers(1, 50),
    max_secs=st.floats(0.5, 10.0),
)
def test_never_over_the_longest_time(
    seconds: float, warmup: int, runs: int, max_secs: float
) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "perf_counter_ns", lambda: clock.now)
        patch.setattr(gc, "collect", int)  # a third of a second each time once torch is loaded
        samples = measure(clock.takes(seconds), warmup, runs, 0.0, max_secs)
    assert 1 <= len(samples) <= runs
    first_calls = seconds * (2 if warmup else 1)  # one warm-up and one timed call come in any case
    assert clock.now <= (max(max_secs, first_calls) + 1e-6) * SECOND


def test_progress_ends_at_the_whole(clock: Clock) -> None:
    told: list[tuple[int, int]] = []
    measure(clock.takes(0.2), 1, 5, 0.0, 100.0, lambda done, total: told.append((done, total)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5), (5, 5)]


def test_garbage_is_not_collected_meanwhile_and_is_afterwards() -> None:
    seen: list[bool] = []
    measure(lambda: seen.append(gc.isenabled()) or 1, 1, 3, 0.0, 1.0)
    assert seen == [False] * 4
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0, 0, 1, 0.0, 1.0)
    assert gc.isenabled()


def test_interleaving_rotates_the_order(clock: Clock) -> None:
    candidates = {name: clock.takes(i + 1, name) for i, name in enumerate("abc")}
    samples = interleave(candidates, rounds=4, warmup=1)
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert samples == {"a": (1.0,) * 4, "b": (2.0,) * 4, "c": (3.0,) * 4}


def test_interleaving_nothing_is_refused() -> None:
    with pytest.raises(BadSetting):
        interleave({}, rounds=3)
    with pytest.raises(BadSetting):
        interleave({"a": lambda: None}, rounds=0)


def test_the_interval_holds_the_true_ratio_and_cancels_what_slows_a_round() -> None:
    generator = np.random.default_rng(1)
    weather = generator.uniform(1.0, 3.0, 200)  # slows both sides of a round alike
    b = weather * generator.normal(1.0, 0.01, 200)
    a = 0.8 * weather * generator.normal(1.0, 0.01, 200)
    ratio, low, high = ratio_interval(a.tolist(), b.tolist())
    assert low < 0.8 < high
    assert low <= ratio <= high
    assert high - low < 0.05
    unpaired = ratio_interval(a.tolist(), generator.permutation(b).tolist())
    assert unpaired[2] - unpaired[1] > 2 * (high - low)


def test_the_interval_is_deterministic_by_seed() -> None:
    a, b = [1.0, 1.2, 1.1, 1.3], [1.0, 1.1, 1.3, 1.2]
    assert ratio_interval(a, b, seed=3) == ratio_interval(a, b, seed=3)
    assert ratio_interval([2.0] * 5, [1.0] * 5) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("at_once", [1, 7, 40, 1_000_000])
def test_the_interval_is_the_same_however_many_are_drawn_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = ([float(1 + (i * k) % 7) for i in range(5)] for k in (3, 5))
    expected = ratio_interval(a, b, resamples=100)
    monkeypatch.setattr(timing, "DRAWN", at_once)
    assert ratio_interval(a, b, resamples=100) == expected


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0, 2.0]), ([], []), ([0.0], [1.0]), ([float("nan")], [1.0])]
)
def test_unpaired_or_absurd_times_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(BadSetting):
        ratio_interval(a, b)


def test_the_median_of_each_whole_minute() -> None:
    minute = (0.01,) * 3000 + (0.02,) * 1500  # 30 s, 30 s
    timings = Timings(0.1, 0.1, (*minute, *(0.02,) * 3001, *(0.03,) * 10))
    assert len(timings.minutes_p50) == 2  # the third is not whole
    assert timings.minutes_p50 == pytest.approx((10.0, 20.0))
    assert Timings(0.1, 0.1, (0.5,) * 3).minutes_p50 == ()
    assert Timings(0.1, 0.1, ()).minutes_p50 == ()
    assert Timings(0.1, 0.1, (130.0, 20.0, 60.0)).minutes_p50 == pytest.approx((75000.0,))
