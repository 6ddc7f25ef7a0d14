"""edgevit takes a vision transformer from a training checkpoint to a verified file for a phone.

The names below are the public face; each is loaded when it is first used, so that `import edgevit`
loads no torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgevit.bundle import Bundle as Bundle
    from edgevit.bundle import open_bundle as open_bundle
    from edgevit.create import create_model as create_model
    from edgevit.deployment import deploy as deploy
    from edgevit.errors import EdgevitError as EdgevitError
    from edgevit.models.zoo import list_models as list_models
    from edgevit.models.zoo import model_card as model_card
    from edgevit.reparam.line import reparameterize as reparameterize
    from edgevit.spec import DeploySpec as DeploySpec

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    match name:
        case "create_model":
            from edgevit.create import create_model

            return create_model
        case "list_models" | "model_card":
            from edgevit.models import zoo

            return zoo.list_models if name == "list_models" else zoo.model_card
        case "reparameterize":
            from edgevit.reparam.line import reparameterize

            return reparameterize
        case "DeploySpec":
            from edgevit.spec import DeploySpec

            return DeploySpec
        case "deploy":
            from edgevit.deployment import deploy

            return deploy
        case "Bundle" | "open_bundle":
            from edgevit import bundle

            return bundle.Bundle if name == "Bundle" else bundle.open_bundle
        case "EdgevitError":
            from edgevit.errors import EdgevitError

            return EdgevitError
    raise AttributeError(f"module 'edgevit' has no attribute {name!r}")
