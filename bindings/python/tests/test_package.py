"""The wheel and the manual."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import tiebreak
from tiebreak import _library

FOLDER = Path(__file__).resolve().parents[1]


def test_the_wheel():
    try:
        package = metadata.distribution("tiebreak")
    except metadata.PackageNotFoundError:
        pytest.skip("run from the sources")
    assert package.version == tiebreak.version()
    wheel = package.read_text("WHEEL")
    assert "Root-Is-Purelib: false" in wheel and re.search(r"^Tag: py3-none-(?!any)\w+$", wheel, re.MULTILINE)
    names = {Path(file).name for file in package.files}
    assert "py.typed" in names and any(name.startswith("libtiebreak.") for name in names)


def test_cargo_builds_what_the_wheel_holds(tmp_path):
    """Without TIEBREAK_LIBRARY; a stand-in for cargo notes what it was asked for."""
    cargo = tmp_path / "cargo"
    made = f'"$CARGO_TARGET_DIR/release/{_library.NAME}"'
    cargo.write_text(
        f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\nmkdir -p $CARGO_TARGET_DIR/release\necho 7 > {made}\n'
    )
    cargo.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name != "TIEBREAK_LIBRARY"}
    env |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(tmp_path / "target")}
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", tmp_path, FOLDER]
    subprocess.run(pip, check=True, env=env)
    assert (tmp_path / "asked").read_text().startswith("build --release --lib --manifest-path ")
    (wheel,) = tmp_path.glob("tiebreak-*-py3-none-*.whl")
    assert zipfile.ZipFile(wheel).read(f"tiebreak/{_library.NAME}") == b"7\n"


def test_the_version_is_cargos():
    cargo = (FOLDER.parents[1] / "Cargo.toml").read_text()
    assert tiebreak.version() == re.search(r'^version = "(.*)"', cargo, re.MULTILINE).group(1)


def test_every_name_is_exported():
    for name in tiebreak.__all__:
        assert getattr(tiebreak, name).__doc__ or name in ("INPUT", "Node"), name


def test_the_program_of_the_manual(capsys):
    code = (FOLDER / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(code, names)
    np.testing.assert_allclose(names["gx"][0, 0, :, :2].ravel(), [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
    distance, loss = capsys.readouterr().out.split("\n")[:2]
    assert "L1 distance" in distance and 2 < float(loss) < 3
