from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

import tiebreak


def missing(tool: str, variable: str) -> None:
    """Skips the test, or fails it where the tool is required."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1: no {tool}")
    pytest.skip(f"no {tool}")


@pytest.fixture(scope="session")
def engine() -> Iterator[tiebreak.Engine]:
    with tiebreak.Engine("cpu") as engine:
        yield engine


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(params=[np.float16, np.float32, np.float64], ids=["f16", "f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    return np.dtype(request.param)


def batch(rng: np.random.Generator, n: int, dtype=np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Images of LeNet-5's shape, each a bar whose place is its label, and labels."""
    x, labels = rng.random((n, 1, 28, 28)) * 0.2, np.arange(n) % 10
    for image, label in zip(x, labels, strict=True):
        image[0, 2 * label + 4 : 2 * label + 6, 4:24] = 1
    return x.astype(dtype), labels
