"""The layers of a network to be."""

from __future__ import annotations

import ctypes as c
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NewType

from . import _abi
from ._handle import Handle
from ._library import lib
from ._record import Properties, filled, options, text
from .array import DType
from .operators import Pair, batchnorm_options, conv2d_options, pool2d_options

Node = NewType("Node", int)
"""A layer of a graph: its place in the order in which they were added."""

INPUT = Node(_abi.TB_GRAPH_INPUT)
"""The input of every graph."""


@dataclass(frozen=True)
class TensorProperties:
    """A layer, a parameter or a buffer."""

    name: str
    """PyTorch's where the network comes from there: "features.0.weight"."""
    kind: str
    """"parameter", "buffer", or the layer's kind: "conv2d", "relu", "maxpool2d" ..."""
    shape: tuple[int, ...]
    """Of a layer's output without the batch."""
    dtype: DType | None
    """None of a graph's layers."""
    gpu: bool
    """True where it lies on a GPU."""

    @classmethod
    def _of(cls, struct: Any) -> TensorProperties:
        return cls(
            struct.name.decode("utf-8", "replace"),
            struct.kind.decode(),
            tuple(struct.shape[: struct.rank]),
            DType(struct.dtype) if struct.dtype else None,
            bool(struct.gpu),
        )


@dataclass(frozen=True)
class GraphProperties(Properties):
    """What a graph is."""

    layer_count: int
    """Number of layers, the input counted."""
    input_shape: tuple[int, int, int]
    """`[C, H, W]` of the input."""


@dataclass(frozen=True)
class ZooOptions:
    """Which of the networks of a name. A network ignores what it does not have."""

    classes: int = 10
    batch_norm: bool = False
    """With batch normalisation, as behind a name the suffix "_bn"."""
    base_width: int = 64
    """Channels of the first convolution, of which the others are multiples. LeNet-5's are fixed."""
    hidden: tuple[int, int] = (120, 84)
    """LeNet-5: widths of the two hidden fully connected layers."""
    input_shape: tuple[int, int, int] = (0, 0, 0)
    """`[C, H, W]` of a sample; zeros mean the network's own."""
    variant: str | None = None
    """"cifar" (images `[3, 32, 32]`), "imagenet" (`[3, 224, 224]`; both as the published code has them) or
    "torchvision" (`[3, 224, 224]`); None means "cifar". LeNet-5 (`[1, 28, 28]`) is one."""

    def _struct(self) -> Any:
        struct = options(_abi.tb_zoo_options, "zoo_options")
        struct.classes, struct.batch_norm, struct.base_width = self.classes, self.batch_norm, self.base_width
        struct.hidden[:], struct.input_shape[:] = self.hidden, self.input_shape
        struct.variant = text(self.variant)
        return struct


class Graph(Handle):
    """Layers, each on earlier ones; the last one added is the output, `[classes]` of a network.

    A network takes a copy: the graph may go on growing afterwards. Names of layers are used once. Every method that
    adds one returns it, and says in its error which layer was wrong.
    """

    _kind = "graph"

    def __init__(self, input_shape: Sequence[int]) -> None:
        """A graph of its input alone, `INPUT`.

        Args:
            input_shape: `[C, H, W]` of a sample
        """
        super().__init__(lib.graph_create, (c.c_int64 * 3)(*input_shape))

    @classmethod
    def from_zoo(cls, name: str, options: ZooOptions | None = None) -> Graph:
        """The graph of a network of the zoo, to look at or to build on.

        Args:
            name: "lenet5", "vgg9", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50",
                "densenet121", "densenet201"; with the suffix "_bn": with batch normalisation
            options: None for the defaults
        """
        graph = cls.__new__(cls)
        Handle.__init__(graph, lib.graph_from_zoo, text(name), options and options._struct())
        return graph

    @classmethod
    def from_json(cls, description: str | Mapping[str, Any]) -> Graph:
        """A graph from its description, a JSON object:

            {"input": [1, 28, 28],
             "layers": [{"name": "conv", "type": "conv2d", "out_channels": 6, "kernel": 5},
                        {"name": "relu", "type": "relu"},
                        {"name": "pool", "type": "maxpool2d", "kernel": 2},
                        {"name": "flatten", "type": "flatten"},
                        {"name": "head", "type": "linear", "out_features": 10}]}

        `input` is `[C, H, W]`. A layer reads the one before it, or those named by `inputs`, of which `add` has two and
        `concat` any number; the network's input is called "input". Types and their fields: `conv2d` (out_channels,
        kernel, stride 1, padding 0, dilation 1, groups 1, bias true), `linear` (out_features, bias true), `batchnorm`
        (eps 1e-5, momentum 0.1), `maxpool2d`, `avgpool2d`, `norm_pool2d` (kernel, stride: the kernel, padding 0),
        `relu`, `flatten`, `add`, `concat`, `dropout` (p). A kernel, stride, padding or dilation is a number or
        `[height, width]`.

        Args:
            description: as a text or as what `json.loads` makes of it
        """
        graph = cls.__new__(cls)
        described = description if isinstance(description, str) else json.dumps(description)
        Handle.__init__(graph, lib.graph_from_json, text(described))
        return graph

    def to_json(self) -> str:
        """The description that `from_json` reads."""
        size = c.c_size_t()
        lib.graph_to_json(self, None, 0, c.byref(size))
        description = c.create_string_buffer(size.value)
        lib.graph_to_json(self, description, len(description), c.byref(size))
        return description.value.decode()

    @property
    def info(self) -> GraphProperties:
        """What it is."""
        return GraphProperties._of(filled(_abi.tb_graph_properties, lib.graph_info, self))

    @property
    def layers(self) -> list[TensorProperties]:
        """Name, kind and output shape of every layer, the input first."""
        return [self.layer(Node(node)) for node in range(self.info.layer_count)]

    def layer(self, node: Node) -> TensorProperties:
        """Name, kind and output shape of a layer."""
        return TensorProperties._of(filled(_abi.tb_tensor_properties, lib.graph_layer_info, self, node))

    def _add(self, function: Any, name: str, *arguments: Any) -> Node:
        node = c.c_size_t()
        function(self, text(name), *arguments, c.byref(node))
        return Node(node.value)

    def conv2d(
        self,
        name: str,
        x: Node,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        bias: bool = True,
    ) -> Node:
        """A convolution: `[C, H, W]` to `[out_channels, OH, OW]`, with `<name>.weight` and `<name>.bias`."""
        window = conv2d_options(stride, padding, dilation, groups, kernel_size)
        return self._add(lib.graph_conv2d, name, x, out_channels, window, bias)

    def relu(self, name: str, x: Node) -> Node:
        """A ReLU on any shape: a kink layer."""
        return self._add(lib.graph_relu, name, x)

    def maxpool2d(
        self, name: str, x: Node, kernel_size: Pair = 2, stride: Pair | None = None, padding: Pair = 0
    ) -> Node:
        """A max pooling, `[C, H, W]` to `[C, OH, OW]`: a kink layer."""
        return self._add(lib.graph_maxpool2d, name, x, pool2d_options(kernel_size, stride, padding))

    def norm_pool2d(
        self, name: str, x: Node, kernel_size: Pair = 2, stride: Pair | None = None, padding: Pair = 0
    ) -> Node:
        """The Euclidean norm of each window, `[C, H, W]` to `[C, OH, OW]`: a kink layer."""
        return self._add(lib.graph_norm_pool2d, name, x, pool2d_options(kernel_size, stride, padding))

    def avgpool2d(
        self, name: str, x: Node, kernel_size: Pair = 2, stride: Pair | None = None, padding: Pair = 0
    ) -> Node:
        """An average pooling, `[C, H, W]` to `[C, OH, OW]`; padding counts as zeros."""
        return self._add(lib.graph_avgpool2d, name, x, pool2d_options(kernel_size, stride, padding))

    def adaptive_avgpool2d(self, name: str, x: Node) -> Node:
        """The mean of each plane: `[C, H, W]` to `[C, 1, 1]`."""
        return self._add(lib.graph_adaptive_avgpool2d, name, x)

    def batchnorm(self, name: str, x: Node, *, eps: float = 1e-5, momentum: float = 0.1) -> Node:
        """A batch normalisation of `[C, H, W]` by channel or `[F]` by feature, with `<name>.weight`, `<name>.bias`,
        `<name>.running_mean` and `<name>.running_var`."""
        return self._add(lib.graph_batchnorm, name, x, batchnorm_options(eps, momentum))

    def dropout(self, name: str, x: Node, p: float = 0.5) -> Node:
        """In training each element is 0 with probability p, else divided by 1 - p."""
        return self._add(lib.graph_dropout, name, x, p)

    def linear(self, name: str, x: Node, out_features: int, *, bias: bool = True) -> Node:
        """A fully connected layer: `[I]` to `[out_features]`, with `<name>.weight` and `<name>.bias`."""
        return self._add(lib.graph_linear, name, x, out_features, bias)

    def flatten(self, name: str, x: Node) -> Node:
        """Sees `[C, H, W]` as `[C * H * W]`."""
        return self._add(lib.graph_flatten, name, x)

    def add(self, name: str, a: Node, b: Node) -> Node:
        """The sum of two tensors of equal shape."""
        return self._add(lib.graph_add, name, a, b)

    def concat(self, name: str, inputs: Sequence[Node]) -> Node:
        """`[C_i, H, W]` to `[sum of C_i, H, W]`, or `[F_i]` to `[sum of F_i]`."""
        return self._add(lib.graph_concat, name, (c.c_size_t * len(inputs))(*inputs), len(inputs))
