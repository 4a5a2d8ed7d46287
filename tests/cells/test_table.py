"""A result's table on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_dama.cells.table import insert_after, read_cells, read_csv, replace_table, write_rows


def slow(value: object) -> str:
    """A value as the table has it."""
    if isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.8g}"
    return str(value)


def test_every_number_is_as_a_slow_writer_has_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 1, 400) * 10.0 ** random.integers(-9, 12, 400)
    values[:6] = [0.0, -0.0, np.nan, 1.0, 123456789.0, -2.5e-7]
    table = pd.DataFrame({"label": np.arange(400), "mean_A": values, "mean_B": values.astype(np.float32)})
    table["reviewed"] = table["label"] % 2 == 0
    write_rows(tmp_path / "t.csv", table, header=True)
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "label,mean_A,mean_B,reviewed"
    for line, row in zip(lines[1:], table.itertuples(index=False), strict=True):
        for word, value in zip(line.split(","), row, strict=True):
            if isinstance(value, float) and not np.isnan(value):
                assert float(word) == float(slow(float(value))), (word, value)
                assert len(word.split("e")[0].replace(".", "").strip("-0")) <= 8
            else:
                assert word == slow(value)


@pytest.mark.parametrize("name", ["NA", "None", "T, helper", 'a "b"', "two\nlines", "cell", "1", "ß µ"])
def test_words_stay_words(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"label": [1, 2], "type": [name, ""], "mean_A": [1.5, np.nan]})
    replace_table(tmp_path, table)
    for found in (read_csv(tmp_path / "cells.csv"), read_cells(tmp_path)):
        assert found["type"].tolist() == [name, ""]
        assert found["mean_A"].isna().tolist() == [False, True]
    assert read_csv((tmp_path / "cells.csv").read_bytes())["type"].tolist() == [name, ""]


def test_rows_are_appended(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": [1, 2], "type": ["a", "b, c"]})
    first = write_rows(tmp_path / "t.csv", table.iloc[:1], header=True)
    assert write_rows(tmp_path / "t.csv", table.iloc[1:], header=False) > first
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table, check_dtype=False)
    write_rows(tmp_path / "e.csv", table.iloc[:0], header=True)
    assert list(read_csv(tmp_path / "e.csv").columns) == ["label", "type"]


def test_a_parquet_file_that_is_behind_does_not_count(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": [1], "type": ["old"]})
    replace_table(tmp_path, table)
    at = (tmp_path / "cells.parquet").stat().st_mtime_ns
    write_rows(tmp_path / "cells.csv", table.assign(type="now"), header=True)
    os.utime(tmp_path / "cells.csv", ns=(at + 10**9, at + 10**9))
    assert read_cells(tmp_path)["type"].tolist() == ["now"]


def test_columns_stand_behind_the_first_anchor_there_is() -> None:
    table = pd.DataFrame({"a": [1], "b": [2], "c": [3]})
    new = pd.DataFrame({"n": [9]})
    assert list(insert_after(table, ("x", "b"), new).columns) == ["a", "b", "n", "c"]
    assert list(insert_after(table, ("x",), new).columns) == ["a", "b", "c", "n"]
