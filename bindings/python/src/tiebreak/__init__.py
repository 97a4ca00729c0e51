"""What automatic differentiation computes at the kinks of a convolutional network, and the choice of it.

    import numpy as np
    import tiebreak

    engine = tiebreak.Engine()
    x = np.array([[[[3, 3], [3, 0]]]], np.float32)
    y, ties = engine.maxpool2d_forward(x)
    minimal = tiebreak.MaxPoolKink("minimal")
    engine.maxpool2d_backward(np.ones_like(y), ties, x.shape, kink=minimal)  # 1/3, 1/3, 1/3, 0

Arrays are NumPy's, used where they lie; anything with `__dlpack__` in host memory is accepted in their place. One that
is not C-contiguous or of another dtype is an `Error`: nothing is copied in silence. `tiebreak.torch` has the layers
for PyTorch.
"""

from ._library import abi_version, status_name, version
from .adapter import AdapterKind, AdapterProperties, adapters
from .array import Array, ArrayLike, DType, Labels
from .data import Augmentation, Dataset, DatasetProperties
from .engine import Device, Engine, EngineProperties, LogLevel, MemoryUse
from .experiment import (
    ExperimentProperties,
    ExperimentResult,
    experiment,
    experiment_defaults,
    experiments,
)
from .graph import INPUT, Graph, GraphProperties, Node, TensorProperties, ZooOptions
from .kink import Composition, Jacobian, Kink, KinkKind, MaxPoolKink, NormPoolKink, ReluKink
from .network import (
    Alternative,
    CensusEntry,
    Comparison,
    Difference,
    MemoryPlan,
    Network,
    NetworkProperties,
    NonFinite,
    Norms,
    Pass,
    ReductionOrder,
    TieClasses,
    Work,
)
from .operators import MaxPool2dDiagnosis, pool2d_output_shape
from .optimizer import (
    EpochReport,
    GradScaler,
    KernelProfile,
    Optimizer,
    OptimizerProperties,
    ParameterGroup,
    StepReport,
)
from .progress import Progress
from .schedule import Schedule, ScheduleKind
from .status import Error, Status
from .step import SGD, Adam, AdamW, Algorithm, AlgorithmKind, RMSprop
from .tensor import Operand, Result, Tensor

__version__ = version()

__all__ = [
    "INPUT",
    "SGD",
    "Adam",
    "AdamW",
    "AdapterKind",
    "AdapterProperties",
    "Algorithm",
    "AlgorithmKind",
    "Alternative",
    "Array",
    "ArrayLike",
    "Augmentation",
    "CensusEntry",
    "Comparison",
    "Composition",
    "DType",
    "Dataset",
    "DatasetProperties",
    "Device",
    "Difference",
    "Engine",
    "EngineProperties",
    "EpochReport",
    "Error",
    "ExperimentProperties",
    "ExperimentResult",
    "GradScaler",
    "Graph",
    "GraphProperties",
    "Jacobian",
    "KernelProfile",
    "Kink",
    "KinkKind",
    "Labels",
    "LogLevel",
    "MaxPool2dDiagnosis",
    "MaxPoolKink",
    "MemoryPlan",
    "MemoryUse",
    "Network",
    "NetworkProperties",
    "Node",
    "NonFinite",
    "NormPoolKink",
    "Norms",
    "Operand",
    "Optimizer",
    "OptimizerProperties",
    "ParameterGroup",
    "Pass",
    "Progress",
    "RMSprop",
    "ReductionOrder",
    "ReluKink",
    "Result",
    "Schedule",
    "ScheduleKind",
    "Status",
    "StepReport",
    "Tensor",
    "TensorProperties",
    "TieClasses",
    "Work",
    "ZooOptions",
    "abi_version",
    "adapters",
    "experiment",
    "experiment_defaults",
    "experiments",
    "pool2d_output_shape",
    "status_name",
    "version",
]
