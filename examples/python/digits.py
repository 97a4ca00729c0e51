"""Images of digits for the examples: MNIST from its four files, or digits that are drawn here."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

# Rows of 5 x 7 pixels for each digit.
FONT = """
01110 00100 01110 11111 00010 11111 00110 11111 01110 01110
10001 01100 10001 00010 00110 10000 01000 00001 10001 10001
10011 00100 00001 00100 01010 11110 10000 00010 10001 10001
10101 00100 00010 00010 10010 00001 11110 00100 01110 01111
11001 00100 00100 00001 11111 00001 10001 01000 10001 00001
10001 00100 01000 10001 00010 10001 10001 01000 10001 00010
01110 01110 11111 01110 00010 01110 01110 01000 01110 01100
"""


def load(folder: Path | None, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images `[N, 1, 28, 28]` float32 from 0 to 1 and labels, then those of the test.

    Args:
        folder: where `train-images-idx3-ubyte` and the other three lie, perhaps with `.gz`; None draws digits
        limit: take only the first training and test images; 0: all, or 6000 and 1000 where they are drawn
    """
    if folder is None:
        train, test = draw(limit or 6000, seed=1), draw(limit or 1000, seed=2)
    else:
        train, test = (read(folder, part, limit) for part in ("train", "t10k"))
    return *train, *test


def read(folder: Path, part: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """One part of MNIST."""
    images = idx(folder / f"{part}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
    labels = idx(folder / f"{part}-labels-idx1-ubyte", 8)
    if len(images) != len(labels):
        raise ValueError(f"{folder}: {len(images)} images and {len(labels)} labels of {part}")
    count = limit or len(images)
    return images[:count].astype(np.float32) / 255, labels[:count].astype(np.int64)


def idx(path: Path, header: int) -> np.ndarray:
    """The bytes behind the header of an IDX file."""
    packed = path.with_name(path.name + ".gz")
    if packed.exists():
        with gzip.open(packed) as file:
            content = file.read()
    else:
        content = path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=header)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits three times as large as the font, at places, of brightness and in noise drawn from a seed."""
    random = np.random.default_rng(seed)
    rows = [row.split() for row in FONT.split("\n") if row]
    font = np.array([[[int(bit) for bit in row[digit]] for row in rows] for digit in range(10)])
    glyphs = font.repeat(3, 1).repeat(3, 2)
    labels = random.integers(0, 10, count)
    images = random.random((count, 1, 28, 28)) * 0.2
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(2, 6), random.integers(4, 10)
        image[0, top : top + 21, left : left + 15] += glyphs[label] * random.uniform(0.5, 0.8)
    return images.astype(np.float32), labels
