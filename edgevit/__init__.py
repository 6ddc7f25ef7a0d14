"""edgevit takes a vision transformer from a training checkpoint to a verified file for a phone.

The names below are the public face; each is loaded when it is first used, so that `import edgevit` loads no torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgevit.models.build import create_model as create_model
    from edgevit.models.zoo import list_models as list_models
    from edgevit.models.zoo import model_card as model_card

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    match name:
        case "create_model":
            from edgevit.models.build import create_model

            return create_model
        case "list_models":
            from edgevit.models.zoo import list_models

            return list_models
        case "model_card":
            from edgevit.models.zoo import model_card

            return model_card
    raise AttributeError(f"module 'edgevit' has no attribute {name!r}")
