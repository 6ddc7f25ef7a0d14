from typing import Any

import numpy as np
import pytest

from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.sessions import executorch as subject


def test_sessions_of_other_thread_counts_take_turns(tiny: Any) -> None:
    """Without the reload this is a segmentation fault: the pool goes away under the program."""
    path = tiny.files["executorch"]
    with open_session(path, threads=1) as one, open_session(path, threads=2) as two:
        for _ in range(3):
            for session in (one, two):
                np.testing.assert_allclose(
                    session.run(*tiny.inputs)[0], tiny.expected[0], atol=1e-5
                )


def test_sessions_of_one_thread_count_share_the_pool(tiny: Any) -> None:
    path = tiny.files["executorch"]
    with open_session(path, threads=1) as first, open_session(path, threads=1) as second:
        before = subject.POOL.generation
        first.run(*tiny.inputs)
        second.run(*tiny.inputs)
        assert subject.POOL.generation == before


def test_a_pool_that_somebody_else_changed_is_set_again(tiny: Any) -> None:
    path = tiny.files["executorch"]
    from executorch.extension.pybindings import portable_lib

    with open_session(path, threads=1) as session:
        portable_lib._unsafe_reset_threadpool(2)
        np.testing.assert_allclose(session.run(*tiny.inputs)[0], tiny.expected[0], atol=1e-5)
        assert portable_lib._threadpool_get_thread_count() == 1


def test_a_file_that_is_gone_at_a_reload_is_one_sentence(tiny: Any, tmp_path: Any) -> None:
    path = tmp_path / "gone.pte"
    path.write_bytes(tiny.files["executorch"].read_bytes())
    with open_session(path, threads=1) as session:
        open_session(tiny.files["executorch"], threads=2).close()
        path.unlink()
        with pytest.raises(RunFailed, match=r"gone\.pte"):
            session.run(*tiny.inputs)
