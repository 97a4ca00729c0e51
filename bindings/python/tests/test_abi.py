"""The raw declarations are those of the header, and everything in them is within reach."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiebreak
from conftest import missing
from tiebreak import _abi
from tiebreak._library import lib

FOLDER = Path(__file__).resolve().parents[1]
HEADER = FOLDER.parents[1] / "include" / "tiebreak.h"


def structs() -> list[type[ctypes.Structure]]:
    return [t for t in vars(_abi).values() if isinstance(t, type) and issubclass(t, ctypes.Structure)]


def test_the_declarations_are_made_of_the_header():
    made = subprocess.run(
        [sys.executable, FOLDER / "generate_abi.py", "--check"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def test_every_function_has_its_arguments():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    declared = {
        name: 0 if arguments.strip() == "void" else arguments.count(",") + 1
        for name, arguments in re.findall(r"^[\w *]*\b(tb_\w+)\(([^;{]*)\);", text, re.MULTILINE)
    }
    assert len(declared) >= 100
    assert {name: len(arguments) for name, (_, arguments) in _abi.FUNCTIONS.items()} == declared


def test_a_compiler_agrees_on_structs_and_constants(tmp_path):
    cc = shutil.which(os.environ.get("CC", "cc"))
    if cc is None:
        missing("C compiler", "TIEBREAK_REQUIRE_CC")
    expected, lines = [], []
    for struct in structs():
        expected.append(f"{struct.__name__} {ctypes.sizeof(struct)}")
        lines.append(f'printf("{struct.__name__} %zu\\n", sizeof({struct.__name__}));')
        for field, *_ in struct._fields_:
            place = getattr(struct, field)
            expected.append(f"{struct.__name__}.{field} {place.offset} {place.size}")
            access = f"offsetof({struct.__name__}, {field}), sizeof((({struct.__name__} *)0)->{field})"
            lines.append(f'printf("{struct.__name__}.{field} %zu %zu\\n", {access});')
    constants = {name: value for name, value in vars(_abi).items() if name.startswith("TB_")}
    for name, value in constants.items():
        expected.append(f"{name} {value}")
        lines.append(f'printf("{name} %lld\\n", (long long){name});')
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include "tiebreak.h"\nint main(void) {' + "\n".join(lines) + "}")
    program = tmp_path / "layout"
    subprocess.run([cc, "-std=c11", f"-I{HEADER.parent}", source, "-o", program], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert len(structs()) >= 25
    assert printed.splitlines() == expected


def test_the_library_agrees_on_the_size_of_options():
    """An `init` function refuses a size that it does not know."""
    for name in vars(lib):
        if not name.endswith("_init"):
            continue
        kind = getattr(_abi, f"tb_{name.removesuffix('_init')}")
        struct, more = kind(), (0,) if name == "optimizer_options_init" else ()
        getattr(lib, name)(ctypes.byref(struct), ctypes.sizeof(kind), *more)
        assert struct.struct_size == ctypes.sizeof(kind)


def test_every_function_is_used():
    """By its own name, or as `<name>_init` of options and `<kind>_free` of handles."""
    sources = "".join(path.read_text() for path in (FOLDER / "src" / "tiebreak").glob("[!_]*.py"))
    sources += "".join((FOLDER / "src" / "tiebreak" / f).read_text() for f in ("_library.py", "_handle.py"))
    # NumPy reads DLPack itself.
    for name in set(_abi.FUNCTIONS) - {"tb_dlpack_view", "tb_dlpack_view_mut"}:
        short = name.removeprefix("tb_")
        used = re.search(rf"\blib(rary)?\.(tb_)?{short}\b", sources)
        if short.endswith("_init"):
            used = f'"{short.removesuffix("_init")}"' in sources
        if short.endswith("_free"):
            used = f'_kind = "{short.removesuffix("_free")}"' in sources
        assert used, f"{name} is out of reach"


PROPERTIES = {
    "tb_engine_properties": tiebreak.EngineProperties,
    "tb_memory_use": tiebreak.MemoryUse,
    "tb_graph_properties": tiebreak.GraphProperties,
    "tb_tensor_properties": tiebreak.TensorProperties,
    "tb_network_properties": tiebreak.NetworkProperties,
    "tb_comparison": tiebreak.Comparison,
    "tb_difference": tiebreak.Difference,
    "tb_norms": tiebreak.Norms,
    "tb_census_entry": tiebreak.CensusEntry,
    "tb_non_finite": tiebreak.NonFinite,
    "tb_memory_plan": tiebreak.MemoryPlan,
    "tb_optimizer_properties": tiebreak.OptimizerProperties,
    "tb_step_report": tiebreak.StepReport,
    "tb_zoo_options": tiebreak.ZooOptions,
    "tb_schedule": tiebreak.Schedule,
    "tb_parameter_group": tiebreak.ParameterGroup,
    "tb_work": tiebreak.Work,
    "tb_kernel_profile": tiebreak.KernelProfile,
    "tb_epoch_report": tiebreak.EpochReport,
    "tb_adapter_properties": tiebreak.AdapterProperties,
    "tb_dataset_properties": tiebreak.DatasetProperties,
    "tb_experiment_properties": tiebreak.ExperimentProperties,
    "tb_augmentation": tiebreak.Augmentation,
}


@pytest.mark.parametrize("struct", PROPERTIES)
def test_every_field_has_its_attribute(struct):
    fields = {name for name, *_ in getattr(_abi, struct)._fields_}
    # What Python keeps in the length of a sequence, or elsewhere.
    fields -= {"struct_size", "reserved", "rank", "milestone_count"}
    attributes = {name.removesuffix("_") for name in PROPERTIES[struct].__dataclass_fields__}
    attributes -= {"differences"}
    assert attributes == fields


def values(struct) -> dict[str, object]:
    def plain(value):
        if isinstance(value, ctypes.Array):
            return list(value)
        # Pointers of groups and milestones: none.
        return None if isinstance(value, ctypes._Pointer) else value

    return {name: plain(getattr(struct, name)) for name, *_ in struct._fields_}


def initial(kind, *arguments):
    struct = getattr(_abi, f"tb_{kind}")()
    getattr(lib, f"{kind}_init")(ctypes.byref(struct), ctypes.sizeof(struct), *arguments)
    return values(struct)


def test_defaults_are_the_librarys():
    for algorithm in (tiebreak.SGD, tiebreak.Adam, tiebreak.AdamW, tiebreak.RMSprop):
        assert values(algorithm()._struct()) == initial("optimizer_options", algorithm._kind.value)
    assert values(tiebreak.ZooOptions()._struct()) == initial("zoo_options")
    assert values(tiebreak.Augmentation()._struct()) == initial("augmentation")
    assert values(tiebreak.ParameterGroup()._struct()) == initial("parameter_group")
    assert values(tiebreak.kink.kink_struct(tiebreak.MaxPoolKink())) == initial("kink")
    for kink in (tiebreak.ReluKink(), tiebreak.NormPoolKink()):
        assert values(tiebreak.kink.kink_struct(kink)) == initial("kink") | {"kind": kink._kind.value}
    schedule = initial("schedule")
    for field in ("gamma", "step_size", "t_max", "eta_min", "milestone_count"):
        got = getattr(tiebreak.Schedule(), field, 0)
        assert got == schedule[field], field
    assert tiebreak.Schedule().kind.value == schedule["kind"]
    scaler, defaults = tiebreak.GradScaler(), initial("optimizer_options", 0)
    for field in ("loss_scale", "growth_interval", "growth_factor", "backoff_factor"):
        assert getattr(scaler, field) == defaults[field]
    conv = values(tiebreak.operators.conv2d_options(1, 0, 1, 1))
    assert conv == initial("conv2d_options")
    pool = values(tiebreak.operators.pool2d_options(2, None, 0))
    assert pool == initial("pool2d_options") | {"stride": [2, 2]}
    assert values(tiebreak.operators.batchnorm_options(1e-5, 0.1)) == initial("batchnorm_options")


def test_versions():
    assert tiebreak.abi_version() == _abi.TB_ABI_VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", tiebreak.version()) and tiebreak.__version__ == tiebreak.version()
    for status in tiebreak.Status:
        assert tiebreak.status_name(status) == f"TB_STATUS_{status.name}"


def test_a_wrong_library_is_refused(tmp_path):
    def refused(path: Path) -> str:
        env = os.environ | {"TIEBREAK_LIBRARY": str(path)}
        command = [sys.executable, "-c", "import tiebreak"]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert ran.returncode == 1 and "ImportError" in ran.stderr, ran.stderr
        return ran.stderr

    assert "TIEBREAK_LIBRARY" in refused(tmp_path / "nothing.so")
    cc = shutil.which(os.environ.get("CC", "cc"))
    if cc is None:
        missing("C compiler", "TIEBREAK_REQUIRE_CC")
    for body, complaint in [
        ("int other(void) { return 1; }", "no library of tiebreak"),
        ("unsigned tb_abi_version(void) { return 77; }", "got 77"),
        (f"unsigned tb_abi_version(void) {{ return {_abi.TB_ABI_VERSION}; }}", "older than this package"),
    ]:
        source, library = tmp_path / "fake.c", tmp_path / "fake.so"
        source.write_text(body)
        subprocess.run([cc, "-shared", "-fPIC", source, "-o", library], check=True)
        assert complaint in refused(library)
