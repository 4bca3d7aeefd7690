"""A training step as one command to the GPU. Its thousands of small kernels take longer to start than to run."""

from collections.abc import Callable

import torch
from torch import Tensor

_PLAIN_CALLS = 3  # before recording, so that everything that is made once is made


class Replayed:
    """A function of tensors on a GPU, recorded once for each set of shapes, and then replayed without Python.

    Whatever the function does on the GPU is repeated, changes to weights included; nothing else is.
    """

    def __init__(self, function: Callable[[list[Tensor]], list[Tensor]]) -> None:
        self._function = function
        self._calls: dict[tuple[torch.Size, ...], int] = {}
        self._recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[Tensor], list[Tensor]]] = {}

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        """The function's results, which hold until the next call."""
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes in self._recorded:
            graph, inputs, results = self._recorded[shapes]
            for kept, tensor in zip(inputs, tensors, strict=True):
                kept.copy_(tensor, non_blocking=True)
            graph.replay()
            return results
        calls = self._calls[shapes] = self._calls.get(shapes, 0) + 1
        if calls <= _PLAIN_CALLS:  # not on the default stream, whose work cannot be recorded
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                results = self._function(tensors)
            torch.cuda.current_stream().wait_stream(stream)
            return results
        inputs, graph = [tensor.clone() for tensor in tensors], torch.cuda.CUDAGraph()
        # Another thread may prepare the next batch meanwhile, which would otherwise end the recording.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = self._function(inputs)
        self._recorded[shapes] = graph, inputs, results
        graph.replay()
        return results
