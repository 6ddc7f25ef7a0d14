"""edgevit takes a vision transformer from a training checkpoint to a verified file for a phone.

The names below are the public face; each is loaded when it is first used, so that `import edgevit`
loads no torch.
"""

from typing import TYPE_CHECKING

from edgevit.version import __version__ as __version__

if TYPE_CHECKING:
    from edgevit.bundle.opened import Bundle as Bundle
    from edgevit.bundle.opened import open_bundle as open_bundle
    from edgevit.deployment.export import deploy as deploy
    from edgevit.deployment.reparameterize import reparameterize as reparameterize
    from edgevit.errors import EdgevitError as EdgevitError
    from edgevit.networks.create import create_model as create_model
    from edgevit.networks.zoo import list_models as list_models
    from edgevit.networks.zoo import model_card as model_card
    from edgevit.prediction.predictor import predict as predict
    from edgevit.request.spec import DeploySpec as DeploySpec
    from edgevit.request.spec import Evaluate as Evaluate
    from edgevit.request.spec import Quantize as Quantize
    from edgevit.request.spec import Source as Source
    from edgevit.request.spec import Verify as Verify


def __getattr__(name: str) -> object:
    match name:
        case "create_model":
            from edgevit.networks.create import create_model

            return create_model
        case "list_models" | "model_card":
            from edgevit.networks import zoo

            return zoo.list_models if name == "list_models" else zoo.model_card
        case "reparameterize":
            from edgevit.deployment.reparameterize import reparameterize

            return reparameterize
        case "DeploySpec" | "Source" | "Quantize" | "Verify" | "Evaluate":
            from edgevit.request import spec

            return getattr(spec, name)
        case "deploy":
            from edgevit.deployment.export import deploy

            return deploy
        case "Bundle" | "open_bundle":
            from edgevit.bundle import opened

            return opened.Bundle if name == "Bundle" else opened.open_bundle
        case "predict":
            from edgevit.prediction.predictor import predict

            return predict
        case "EdgevitError":
            from edgevit.errors import EdgevitError

            return EdgevitError
    raise AttributeError(f"module 'edgevit' has no attribute {name!r}")
