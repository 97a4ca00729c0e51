"""The programs in examples/python run and learn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "python"


def run(program: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, EXAMPLES / program, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == status, ran.stderr
    return ran.stdout + ran.stderr


def accuracy(text: str) -> float:
    return float(re.findall(r"test accuracy ([\d.]+) %", text)[-1])


def test_help():
    assert "pooling" in run("first_program.py", "--help")
    assert "--jacobian" in run("train_lenet.py", "--help")


def test_first_program():
    line = next(line for line in (EXAMPLES / "first_program.py").read_text().splitlines() if "print(" in line)
    assert run("first_program.py").strip() == line.split("# ")[1]


def test_train_lenet():
    text = run("train_lenet.py", "--device", "cpu")
    assert "6000 training and 1000 test images" in text and accuracy(text) > 90
    choice = ("--jacobian", "beta", "--beta", 10, "--composition", "split", "--precision", 16)
    short = run("train_lenet.py", "--device", "cpu", *choice, "--limit", 96, "--epochs", 1)
    assert "96 training and 96 test images" in short
    assert "invalid choice: 'first'" in run("train_lenet.py", "--jacobian", "first", status=2)


def mnist() -> Path:
    folder = Path(os.environ.get("TIEBREAK_MNIST") or EXAMPLES.parents[2] / "shared" / "data" / "mnist")
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"no MNIST in {folder}; set TIEBREAK_MNIST to its folder")
    return folder


def test_train_lenet_on_mnist():
    text = run("train_lenet.py", "--device", "cpu", "--data", mnist(), "--limit", 6000, "--batch-size", 32)
    assert accuracy(text) > 88


def test_torch_maxpool():
    pytest.importorskip("torch")
    assert "--jacobian" in run("torch_maxpool.py", "--help")
    text = run("torch_maxpool.py")
    distances = dict(re.findall(r"(\d\d bits: .*): ([\d.e+-]+)$", text, re.MULTILINE))
    assert len(distances) == 4
    for name, distance in distances.items():
        native = name.endswith("native")
        assert float(distance) == 0 if native else name.startswith("32") or float(distance) > 0, text
    assert accuracy(text) > 85
