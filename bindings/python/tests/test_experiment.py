"""Experiments: the table that a call gives is the one that it writes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import tiebreak
from tiebreak import Dataset, Status

RELU = {"precisions": [16, 32], "layers": [1, 2], "width": 16, "seeds": 3, "batch_size": 32}


def test_the_zero_program_in_memory(engine):
    result = tiebreak.experiment("zero_program", engine=engine)
    assert (result.name, result.unit_count, result.finished, result.missing) == ("zero_program", 18, 18, 0)
    assert not result.cancelled and "-1.5 at t = 0" in result.verdict[0]
    assert {len(column) for column in result.values()} == {90}
    published = (result["program"] == "maxpool") & (result["x"] == "1 2 3 4") & (result["t"] == 0)
    assert result["derivative"][published].tolist() == [-1.5] * 3
    assert [result[name].dtype for name in ("t", "precision", "x")] == [np.float64, np.uint64, object]
    assert isinstance(result, dict) and isinstance(result["x"][0], str)


def test_the_table_is_the_csv_that_the_run_wrote(engine, tmp_path):
    digits = Dataset.digits(64, 3)
    written = tiebreak.experiment("relu", digits, engine=engine, out=tmp_path / "relu", **RELU)
    with (tmp_path / "relu" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(written) == list(rows[0]) and len(rows) == 12
    for name, column in written.items():
        cells = [column.dtype.type(row[name]) if column.dtype != object else row[name] for row in rows]
        assert column.tolist() == np.array(cells, column.dtype).tolist(), name
    assert (tmp_path / "relu" / "report.html").is_file()
    # In memory, without a choice of the engine, from arrays: the same.
    again = tiebreak.experiment("relu", digits, **RELU | {"layers": np.array([1, 2]), "seeds": np.int64(3)})
    for name in written:
        np.testing.assert_array_equal(again[name], written[name])
    # What has finished there is not measured again.
    third = tiebreak.experiment("relu", (digits, digits), engine=engine, out=tmp_path / "relu", **RELU)
    assert (third.skipped, third.finished) == (4, 0)


def test_shards_and_stops(engine, tmp_path):
    first = tiebreak.experiment("zero_program", engine=engine, out=tmp_path, shard=(1, 2))
    assert (first.finished, first.missing, len(first["t"])) == (9, 9, 45)
    heard = []

    def stop(done, total):
        heard.append((done, total))
        return done >= 4000

    second = tiebreak.experiment("zero_program", engine=engine, out=tmp_path, shard=(2, 2), progress=stop)
    assert second.cancelled and (second.finished, second.missing) == (4, 5)
    assert heard[0] == (0, 9000) and heard[-1] == (4000, 9000)
    assert second.verdict[-1] == "5 of 18 units have not finished yet."
    whole = tiebreak.experiment("zero_program", engine=engine, out=tmp_path)
    assert (whole.skipped, whole.finished, whole.missing, whole.cancelled) == (13, 5, 0, False)
    nothing = tiebreak.experiment("zero_program", engine=engine, progress=lambda *_: True)
    assert nothing.cancelled and nothing == {} and nothing.verdict == []

    class Unusual(BaseException):
        pass

    def fail(done, total):
        raise Unusual("from the progress")

    with pytest.raises(Unusual):
        tiebreak.experiment("zero_program", engine=engine, progress=fail)


def test_training(engine):
    data = Dataset.digits(64, 1), Dataset.digits(32, 2)
    protocol = {"precisions": ["mixed"], "betas": [0, 100], "seeds": 1, "epochs": 1, "batch_size": 32}
    result = tiebreak.experiment("training", data, engine=engine, **protocol)
    assert result["precision"].tolist() == ["mixed"] * 2 and result["beta"].tolist() == [0, 100]
    assert result["composition"].tolist() == ["coupled"] * 2
    exact = tiebreak.experiment(
        "training", data, engine=engine, compositions=[tiebreak.Composition.EXACT], **protocol
    )
    assert exact["composition"].tolist() == ["exact"] * 2


def test_wrong_ones_say_why(engine):
    digits = Dataset.digits(8, 1)
    for arguments, protocol, status, message in [
        (("zero",), {}, Status.NOT_FOUND, "known: zero_program"),
        (("relu",), {"seed": 1}, Status.NOT_FOUND, "no field named `seed`; known: precisions, layers"),
        (("relu",), {"seeds": "1"}, Status.INVALID_ARGUMENT, "`seeds`: expected a whole number"),
        (("relu",), {"seeds": float("nan")}, Status.INVALID_ARGUMENT, "`protocol`"),
        (("relu",), {"precisions": 16}, Status.INVALID_ARGUMENT, "`precisions`: expected a list, got 16"),
        (("volume",), {}, Status.INVALID_ARGUMENT, "`train`: expected a data set"),
        (("training", digits), {}, Status.INVALID_ARGUMENT, "`test`: expected a data set"),
        (("zero_program", digits), {}, Status.INVALID_ARGUMENT, "no images"),
        (("volume", digits), {"seeds": 1}, Status.SHAPE_MISMATCH, "colour images"),
        (("relu",), {"shard": (3, 2)}, Status.INVALID_ARGUMENT, "shard"),
    ]:
        with pytest.raises(tiebreak.Error, match=None) as caught:
            tiebreak.experiment(*arguments, engine=engine, **protocol)
        assert caught.value.status is status and message in str(caught.value), str(caught.value)
    with pytest.raises(TypeError, match="a protocol holds"):
        tiebreak.experiment("relu", engine=engine, seeds=object())


def test_lists():
    names = [known.name for known in tiebreak.experiments()]
    assert {"zero_program", "thresholds", "relu"} <= set(names)
    diagnoses = "attribution taxonomy replay noise continuum margins conventions slices"
    assert set(diagnoses.split()) <= set(names)
    for name in names:
        small, full = (tiebreak.experiment_defaults(name, full=full) for full in (False, True))
        assert small.keys() == full.keys()
    assert tiebreak.experiment_defaults("relu")["seeds"] == 200
    assert tiebreak.experiment_defaults("relu", full=True)["seeds"] == 1000


def test_the_program_of_the_readme(capsys):
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    (code,) = (part for part in readme.split("```python\n")[1:] if "tiebreak.experiment(" in part)
    names: dict = {}
    exec(code.split("```")[0], names)
    result = names["result"]
    assert len(result["affected"]) == 2 * 2 * 5 and "hidden layers" in capsys.readouterr().out
