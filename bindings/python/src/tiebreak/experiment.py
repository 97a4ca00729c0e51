"""The experiments of the MaxPool study: one call, and its table as arrays."""

from __future__ import annotations

import ctypes as c
import json
import os
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _abi
from ._handle import Handle
from ._library import lib
from ._record import Properties, array, filled, text
from .data import Dataset
from .engine import Engine
from .progress import Progress, listening


@dataclass(frozen=True)
class ExperimentProperties(Properties):
    """What an experiment is."""

    name: str
    about: str
    """What it measures, in a line."""
    unit_count: int
    """How many units it has; 0 where no protocol was chosen."""


class ExperimentResult(dict[str, "npt.NDArray[Any]"]):
    """What a run of an experiment measured: its columns by name, an element for each row.

    Measurements are float64, counts and seeds uint64, names objects of `str`: `pandas.DataFrame(result)` is the table.
    """

    name: str
    """Of the experiment."""
    verdict: list[str]
    """The answer, a sentence each; empty where nothing has finished."""
    unit_count: int
    """Units of the experiment, all shards together."""
    skipped: int
    """Units that had finished before, in the folder."""
    finished: int
    """Units that this run finished."""
    missing: int
    """Units that have not finished yet, here or in another shard."""
    cancelled: bool
    """True where `progress` stopped the run: the rows are those of the units that had finished."""


class _Experiment(Handle):
    _kind = "experiment"


class _Result(Handle):
    _kind = "experiment_result"

    def read(self) -> ExperimentResult:
        info = filled(_abi.tb_experiment_result_properties, lib.experiment_result_info, self)
        result = ExperimentResult()
        for i in range(info.column_count):
            column = filled(_abi.tb_column_properties, lib.experiment_result_column, self, i)
            result[column.name.decode()] = self._column(i, column, info.row_count)
        result.verdict = [self._sentence(i) for i in range(info.sentence_count)]
        result.unit_count, result.skipped, result.finished = info.unit_count, info.skipped, info.finished
        result.missing, result.cancelled = info.missing, bool(info.cancelled)
        return result

    def _column(self, i: int, column: Any, rows: int) -> npt.NDArray[Any]:
        if column.kind == _abi.TB_COLUMN_NUMBERS:
            numbers = np.empty(rows, np.float64)
            lib.experiment_result_numbers(self, i, numbers.ctypes.data_as(c.POINTER(c.c_double)), rows)
            return numbers
        if column.kind == _abi.TB_COLUMN_INTEGERS:
            integers = np.empty(rows, np.uint64)
            lib.experiment_result_integers(self, i, integers.ctypes.data_as(c.POINTER(c.c_uint64)), rows)
            return integers
        texts = np.empty(rows, object)
        cell, size = c.create_string_buffer(column.text_size), c.c_size_t()
        for row in range(rows):
            lib.experiment_result_text(self, i, row, cell, len(cell), c.byref(size))
            texts[row] = cell.value.decode()
        return texts

    def _sentence(self, i: int) -> str:
        size = c.c_size_t()
        lib.experiment_result_sentence(self, i, None, 0, c.byref(size))
        sentence = c.create_string_buffer(size.value)
        lib.experiment_result_sentence(self, i, sentence, len(sentence), c.byref(size))
        return sentence.value.decode()


def _plain(value: object) -> object:
    """What JSON has no word for: NumPy's numbers and arrays, choices, ranges."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, (range, set, frozenset)):
        return sorted(value)
    raise TypeError(f"a protocol holds numbers, texts and lists, not {type(value).__name__}")


def experiment(
    name: str,
    data: Dataset | tuple[Dataset, Dataset] | None = None,
    *,
    engine: Engine | None = None,
    out: str | os.PathLike[str] | None = None,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
    **protocol: Any,
) -> ExperimentResult:
    """Runs an experiment of the MaxPool study and gives its table.

        result = tiebreak.experiment("relu", layers=[1, 2], seeds=50)
        result["affected"].mean(), result.verdict

    Args:
        name: one of `experiments`, such as "volume"
        data: images to train on, or the pair of `Dataset.open` where the experiment tests too ("drift", "training",
            "learning_rate", "imagenet", "attribution", "taxonomy", "noise", "continuum", "reliability"). Where LeNet-5
            or a perceptron is measured digits are drawn if there are none; "zero_program" takes none.
        engine: what runs it; None: one on the CPU
        out: a folder, in which units are kept as they finish, beside tables, a page and pictures: the same call goes on
            from there. None: nothing is written.
        shard: (i, n) takes every n-th unit from number i on, 1 to n, as one of n processes that share a folder
        progress: hears of thousandths of a unit done, of all units to do here. True stops the run: the result has the
            units that have finished and is `cancelled`.
        protocol: what is chosen, by name: the fields that `experiment_defaults` tells. `full=True` takes the published
            size for the others.

    Raises:
        Error: `Status.NOT_FOUND` for an unknown name, field or network; `Status.INVALID_ARGUMENT` for a field of a
            wrong type or value and for images that are missing; `Status.SHAPE_MISMATCH` for images of another shape;
            `Status.IO`, `Status.FORMAT` for files of the folder
    """
    if engine is None:
        with Engine("cpu") as engine:
            return experiment(name, data, engine=engine, out=out, shard=shard, progress=progress, **protocol)
    train, test = data if isinstance(data, tuple) else (data, None)
    number, count = (0, 0) if shard is None else shard
    folder = text(None if out is None else os.fspath(out))
    chosen = text(json.dumps(protocol, default=_plain))
    with (
        _Experiment(lib.experiment_create, text(name), chosen, train, test) as made,
        listening(progress) as hear,
        _Result(lib.experiment_run, made, engine, folder, number, count, hear, None) as result,
    ):
        table = result.read()
        table.name = filled(_abi.tb_experiment_properties, lib.experiment_info, made).name.decode()
        return table


def experiments() -> list[ExperimentProperties]:
    """The experiments that there are."""
    count = c.c_size_t()
    lib.experiments(None, 0, c.byref(count))
    found = array(_abi.tb_experiment_properties, count.value)
    lib.experiments(found if count.value else None, len(found), c.byref(count))
    return [ExperimentProperties._of(struct) for struct in found[: count.value]]


def experiment_defaults(name: str, *, full: bool = False) -> dict[str, Any]:
    """The protocol of an experiment where nothing is chosen. What the fields mean is told by `lab NAME --help`, the
    command line of the experiments.

    Args:
        name: the experiment's
        full: that of the published size, instead of one that takes minutes

    Raises:
        Error: `Status.NOT_FOUND`
    """
    size = c.c_size_t()
    lib.experiment_defaults(text(name), full, None, 0, c.byref(size))
    protocol = c.create_string_buffer(size.value)
    lib.experiment_defaults(text(name), full, protocol, len(protocol), c.byref(size))
    defaults: dict[str, Any] = json.loads(protocol.value)
    return defaults
