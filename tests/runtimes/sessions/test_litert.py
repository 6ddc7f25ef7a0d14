from typing import Any

import numpy as np

from edgevit_runtimes.engines import open_session


def test_ports_are_in_the_order_of_the_network(dozen: Any) -> None:
    with open_session(dozen.files["litert"]) as session:
        assert [port.name for port in session.inputs] == ["args_0", "args_1"]
        assert [port.name for port in session.outputs] == [f"output_{i}" for i in range(12)]
        outputs = session.run(*dozen.inputs)
    for output, expected in zip(outputs, dozen.expected, strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-6)
