"""Writes a torch network as an ONNX file, for engines that need no torch."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ptx_app.model.manifest import LungFields, Weights
from ptx_app.model.torch_network import TorchNetwork, with_activation

_OPSET = 17
_LEAST_VALUES = 64  # smaller tensors are settings of operations, which must keep their type


def export_onnx(weights: Weights | LungFields, safetensors: Path, target: Path) -> None:
    """Write the network of an entry with the weights of its safetensors file.

    The weights stay in fp16 exactly as they are, so the results are torch's: nothing is folded into them. The file has
    one input, "film" (1, channels, S, S), and three outputs: "mask_logits" (1, 1, S, S), "score_logit" (1, 1) and
    "activation" (1, 1, s, s).

    Raises:
        WeightsError: as TorchNetwork.
    """
    network = TorchNetwork(weights, safetensors, torch.device("cpu"))
    spec = weights.input
    film = torch.zeros(1, spec.channels, spec.side, spec.side)
    network.module.forward = partial(with_activation, network.module)
    draft = target.with_name(target.name + ".part")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.module.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
                (film,),
                str(draft),
                dynamo=False,  # the other exporter needs a further package
                opset_version=_OPSET,
                input_names=["film"],
                output_names=["mask_logits", "score_logit", "activation"],
                do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,  # else batch norms are folded, and fp16 is not exact
            )
        onnx.save(_in_half_precision(onnx.load(draft)), draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _in_half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its weights stored in fp16 and cast to fp32 where they are used, if that loses nothing."""
    casts = []
    for stored in model.graph.initializer:
        values = numpy_helper.to_array(stored)
        half = values.astype(np.float16) if stored.data_type == TensorProto.FLOAT else values
        if stored.data_type != TensorProto.FLOAT or values.size < _LEAST_VALUES or (half != values).any():
            continue
        name = stored.name
        stored.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT, name=f"{name}.fp32"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
