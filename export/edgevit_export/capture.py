"""torch.export with the failures of its users: one captured program, in eval mode, for every
backend.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgevit_export.errors import LoweringFailed
from edgevit_export.quiet import quiet


def capture(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """Capture `model` at the fixed shapes of `example`; raises `LoweringFailed`."""
    if model.training:
        raise LoweringFailed("The network is in training mode; call .eval() before exporting it.")
    try:
        # Where it fails, torch.export prints the whole graph so far.
        with quiet(), torch.no_grad(), warnings.catch_warnings():
            # Exporters and torch disagree about deprecations in each other's code; ours is tested
            # with warnings as errors.
            warnings.simplefilter("ignore")
            return torch.export.export(model, example)
    except (MemoryError, OSError):
        raise  # the machine's failures are not the network's
    except Exception as error:  # torch.export fails with errors of every kind
        reason = str(error).strip().splitlines()
        raise LoweringFailed(
            f"torch.export could not capture the network: {reason[0] if reason else error!r}."
        ) from error
