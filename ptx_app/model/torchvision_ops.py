"""Makes torchvision importable if its compiled operators are missing.

timm imports torchvision, and torchvision looks up its own operators at import. A wheel built for CUDA does not register
them with a CPU build of torch ("operator torchvision::nms does not exist"). Nothing here uses them, so a bare schema is
enough. If the operators load, this does nothing.
"""

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library removes its schemas when it is garbage-collected


def declare_missing_operators() -> None:
    """Declare the schemas of torchvision's operators if they are not registered. Call before importing torchvision."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in _SCHEMAS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(schema)
        _declared.append(library)
