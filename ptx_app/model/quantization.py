"""Runs the decoder of a network in 8 bits, with OpenVINO.

The decoder has two thirds of the arithmetic and bears 8 bits: the contours hardly change. The encoder does not: scores
would move by a third. So encoder and heads stay in fp32, and a score does not depend on what the decoder runs in.

Inputs are rounded to 256 levels between the lowest and the highest value on training films, and weights to 127 levels
for each output channel. More would overflow the 16-bit sums of processors with AVX2 only, and the result would depend
on the machine. The method is uniform quantisation after training: Jacob et al., CVPR 2018; Nagel et al.,
arXiv:2106.08295.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_app.model.openvino_runtime import core, openvino

Ranges = Mapping[str, tuple[float, float]]

_DECODER = "/decoder/"  # how the names of its operations begin in the ONNX file
_LEVELS = 256
# 255 levels over twice the range: the weights use the inner 127 of them.
_WEIGHT_LEVELS, _HALF_RANGE = 255, 2.0


def decoder_ranges(onnx: Path, films: Iterable[NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """The range of input values of each of the decoder's convolutions: lowest and highest, averaged over films.

    Args:
        onnx: file of the network.
        films: prepared films, (1, channels, S, S) float32 each.
    """
    ov = openvino()
    model = core().read_model(onnx)
    convolutions = _decoder_convolutions(model)
    axes = ov.opset13.constant(np.arange(4, dtype=np.int64))
    extremes = []
    for convolution in convolutions:
        value = convolution.input_value(0)
        extremes += [ov.opset13.reduce_min(value, axes), ov.opset13.reduce_max(value, axes)]
    watched = ov.Model([node.output(0) for node in extremes], model.get_parameters(), "ranges")
    compiled = core().compile_model(watched, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = np.asarray([[float(np.squeeze(value)) for value in compiled(film).to_tuple()] for film in films])
    means = found.mean(axis=0).round(4).reshape(-1, 2).tolist()
    return {node.get_friendly_name(): (low, high) for node, (low, high) in zip(convolutions, means, strict=True)}


def quantize_decoder(model: Any, ranges: Ranges) -> None:  # noqa: ANN401  (openvino has no types)
    """Round inputs and weights of the decoder's convolutions. OpenVINO then runs them in 8 bits.

    Args:
        model: the openvino Model of the file that `decoder_ranges` was called for; it is changed.
        ranges: from `decoder_ranges`.

    Raises:
        KeyError: a convolution of the decoder has no range.
    """
    for convolution in _decoder_convolutions(model):
        low, high = _with_zero_as_a_level(*ranges[convolution.get_friendly_name()])
        source = convolution.input_value(0).get_node()
        # Rounded in front of a concatenation, the parts are joined in 8 bits, which is faster.
        ports = source.inputs() if source.get_type_name() == "Concat" else [convolution.input(0)]
        for port in ports:
            _round(port, low, high, _LEVELS)
        largest = np.abs(_constant(convolution.input_value(1))).max(axis=(1, 2, 3), keepdims=True)
        limit = _HALF_RANGE * np.maximum(largest, np.float32(1e-6))
        _round(convolution.input(1), -limit, limit, _WEIGHT_LEVELS)


def _decoder_convolutions(model: Any) -> list[Any]:  # noqa: ANN401
    return [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution" and node.get_friendly_name().startswith(_DECODER)
    ]


def _with_zero_as_a_level(low: float, high: float) -> tuple[float, float]:
    """The range, moved by less than a level: padding is zero and must stay zero."""
    low, high = min(low, 0.0), max(high, 1e-6)
    step = (high - low) / (_LEVELS - 1)
    below = round(-low / step)
    return -below * step, (_LEVELS - 1 - below) * step


def _round(port: Any, low: Any, high: Any, levels: int) -> None:  # noqa: ANN401
    limits = np.asarray(low, np.float32), np.asarray(high, np.float32)
    rounded = openvino().opset13.fake_quantize(port.get_source_output(), *limits, *limits, levels)
    port.replace_source_output(rounded.output(0))


def _constant(output: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """The values of a constant, behind its conversion from fp16."""
    node = output.get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data(), np.float32)
