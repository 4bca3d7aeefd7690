"""Lets torchvision be imported where its compiled operators are missing.

timm imports torchvision, and torchvision's import looks up operators of its own that a wheel built for CUDA does not
register beside a CPU build of torch ("operator torchvision::nms does not exist"). Nothing here uses them, so a bare
schema is enough. Where they load, this does nothing.
"""

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library takes its schemas with it when it is collected


def declare_missing_operators() -> None:
    """Declare torchvision's operators by schema where they are not registered. Call before importing torchvision."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in _SCHEMAS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(schema)
        _declared.append(library)
