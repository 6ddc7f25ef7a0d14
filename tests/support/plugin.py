"""How a run uses the machine: which worker takes which file, and when garbage is collected."""

import gc
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.once import CHANGED, Shared, root_of_run

# CPU seconds of the files that take longest, rounded; they are begun first, so that no worker is
# left alone with one at the end. A file that is missing here comes later, which costs little.
SECONDS: dict[str, int] = {
    "tests/e2e/test_matrix.py[vit-adapter-micro-upernet]": 155,
    "tests/e2e/test_matrix.py[mvitv2-micro-video]": 120,
    "tests/runtimes/runners/test_ssh.py": 100,
    "tests/edgevit/networks/mvitv2/test_pooling_attention.py": 80,
    "tests/e2e/test_broken_off.py": 75,
    "tests/export/backends/test_precisions.py": 70,
    "tests/e2e/test_matrix.py[mvitv2-micro]": 70,
    "tests/edgevit/deployment/test_finetune.py": 60,
    "tests/edgevit/deployment/test_export.py": 60,
    "tests/e2e/test_matrix.py[t2t-vit-micro]": 55,
    "tests/runtimes/runners/test_emulated.py": 55,
    "tests/edgevit/networks/vit_adapter/test_line.py": 50,
    "tests/edgevit/networks/test_line.py": 50,
    "tests/edgevit/networks/test_plain_transformers.py": 50,
    "tests/test_docs.py": 45,
    "tests/runtimes/runners/test_adb_daemon.py": 45,
    "tests/e2e/test_matrix.py[vit-micro]": 40,
    "tests/e2e/test_matrix.py[vitpose-micro]": 40,
    "tests/edgevit/prediction/test_every_task.py": 40,
    "tests/edgevit/deployment/test_rounds.py": 35,
    "tests/runtimes/native/core/test_mask.py": 30,
    "tests/export/test_quantization.py": 25,
    "tests/export/spellings/test_xnnpack.py": 25,
    "tests/edgevit/quantize/test_edits.py": 20,
    "tests/edgevit/networks/test_zoo.py": 20,
    "tests/edgevit/networks/test_integers.py": 20,
    "tests/benchmarks/test_topformer_latency.py": 20,
    "tests/export/backends/test_backends.py": 20,
    "tests/benchmarks/test_models_latency.py": 15,
    "tests/edgevit/deployment/test_speeds.py": 15,
}
# One network after the other: a worker has made the bundle that it then reads.
BY_PARAMETER = ("tests/e2e/test_matrix.py",)


def scope_of(nodeid: str) -> str:
    """What one worker runs in one go: a file, or one parameter of it."""
    path, _, test = nodeid.partition("::")
    parameter = test.partition("[")[2]
    return f"{path}[{parameter}" if path in BY_PARAMETER and parameter else path


def seconds_of(scope: str) -> int:
    """The table's seconds; for one parameter its own, else those of the file."""
    return SECONDS.get(scope, SECONDS.get(scope.partition("[")[0], 0))


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files as units, in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # xdist's own order is by the number of tests
    return Files(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, where there is more than one worker."""
    if is_worker(config):
        items.sort(key=lambda item: -seconds_of(scope_of(item.nodeid)))


# Collection is 12 to 18 % of the time otherwise: torch and the exporters leave millions of objects
# that stay until the end, and each collection reads them all. They are taken out of its sight when
# the tests are known and between two files.
def pytest_collection_finish() -> None:
    gc.set_threshold(50_000, 20, 100)
    _settle()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and nextitem.path != item.path:
        _settle()


def _settle() -> None:
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run where a test wrote into what all read; asked once, when the workers ended."""
    gc.unfreeze()  # else native modules tell at the end of all that was not freed
    config = session.config
    factory = getattr(config, "_tmp_path_factory", None)
    if is_worker(config) or factory is None or factory._basetemp is None:
        return
    root = root_of_run(factory.getbasetemp(), worker=False)
    changed: Sequence[str] = Shared(root).changed() if root.exists() else ()
    if changed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(CHANGED + ", ".join(changed), red=True, bold=True)
