import pytest

from edgevit_runtimes.bench import check_settings
from edgevit_runtimes.errors import BadSetting
from edgevit_runtimes.modes import MODES, Mode, mode_named
from edgevit_runtimes.result import BenchSettings


@pytest.mark.parametrize("mode", MODES.values(), ids=str)
def test_every_mode_can_be_measured(mode: Mode) -> None:
    settings = BenchSettings(
        (1,), mode.warmup, mode.runs, mode.min_secs, mode.max_secs, mode.repeat, mode.name
    )
    check_settings(settings, 1)
    assert mode_named(mode.name) is mode


def test_mlperf_is_what_mlperf_mobile_asks_of_a_single_stream() -> None:
    mode = mode_named("mlperf")
    assert (mode.runs, mode.min_secs) == (1024, 60.0)


def test_an_unknown_mode_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BadSetting, match="'fast'; there are standard, quick, mlperf, sustained"):
        mode_named("fast")
