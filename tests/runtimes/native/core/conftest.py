import pytest

from edgevit.tasks.pixels.core import Core
from tests.support.native import built
from tests.support.once import Shared


@pytest.fixture(scope="session")
def host_core(shared: Shared) -> Core:
    """The library of this machine."""
    return Core(built(shared, "host") / "core" / "libedgevit_core.so")
