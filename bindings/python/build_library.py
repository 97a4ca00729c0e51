"""Puts the shared library into the wheel: the one that TIEBREAK_LIBRARY names, or a release build of the repository."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = {"darwin": "libtiebreak.dylib", "win32": "tiebreak.dll"}.get(sys.platform, "libtiebreak.so")


def build(repository: Path) -> Path:
    """The library that Cargo makes."""
    if not (repository / "Cargo.toml").is_file():
        sys.exit(
            "tiebreak: the wheel is built inside the repository, or from the library that TIEBREAK_LIBRARY names"
        )
    command = ["cargo", "build", "--release", "--lib", "--manifest-path", str(repository / "Cargo.toml")]
    subprocess.run(command, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", repository / "target"))
    return target / "release" / NAME


def tag() -> str:
    """Any Python 3 on this platform: the package has no compiled glue of its own."""
    name = sysconfig.get_platform()
    if sys.platform == "darwin":
        # Python may be universal where the library is not.
        version = name.split("-")[1]
        name = f"macosx-{version}-{platform.machine()}"
    return f"py3-none-{name.replace('-', '_').replace('.', '_')}"


class LibraryHook(BuildHookInterface):  # type: ignore[misc]
    """Hatchling's hook for wheels."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the library. An editable install finds it through TIEBREAK_LIBRARY alone."""
        if version == "editable":
            return
        chosen = os.environ.get("TIEBREAK_LIBRARY")
        library = Path(chosen) if chosen else build(Path(self.root).parents[1])
        if not library.is_file():
            sys.exit(f"tiebreak: no library {library}")
        build_data["force_include"][str(library)] = f"tiebreak/{NAME}"
        build_data["pure_python"] = False
        build_data["tag"] = tag()
