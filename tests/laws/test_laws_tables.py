"""Reading tables: exports of trackers become one row per run and step."""

from pathlib import Path

import numpy as np
import pytest

from limes.core.errors import DataError
from limes.laws import read_table

WANDB = """"Step","small run - eval/loss","small run - eval/loss__MIN","large - lr - eval/loss"
10,3.5,3.4,
20,3.1,3.1,3.0
30,,,2.7
"""


def test_a_history_of_wandb_becomes_one_row_per_run_and_step(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(WANDB)
    table = read_table(tmp_path / "history.csv")
    assert set(table) == {"run", "step", "eval/loss"}
    # a run's name may hold the separator; extremes of smoothed curves and steps that a run has not are left out
    assert table["run"].tolist() == ["small run"] * 2 + ["large - lr"] * 2
    assert table["step"].tolist() == [10, 20, 20, 30] and table["eval/loss"].tolist() == [3.5, 3.1, 3.0, 2.7]


def test_a_table_with_such_a_heading_among_others_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("Name,N,loss - final\na,1e6,3.0\nb,2e6,2.9\n")
    assert read_table(tmp_path / "runs.csv")["loss - final"].tolist() == [3.0, 2.9]


def test_scalars_of_tensorboard_get_their_file_as_run_and_a_folder_joins_them(tmp_path: Path) -> None:
    for name, values in (("small", (3.0, 2.5)), ("large", (2.8, 2.1))):
        rows = "\n".join(f"1700000000.0,{100 * (k + 1)},{value}" for k, value in enumerate(values))
        (tmp_path / f"{name}.csv").write_text(f"Wall time,Step,Value\n{rows}\n")
    table = read_table(tmp_path)
    assert table["run"].tolist() == ["large", "large", "small", "small"]
    assert table["value"].tolist() == [2.8, 2.1, 3.0, 2.5] and table["step"].tolist() == [100, 200, 100, 200]


def test_folders_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no table"):
        read_table(tmp_path)
    (tmp_path / "a.csv").write_text("N,loss\n1,2\n")
    (tmp_path / "b.csv").write_text("D,loss\n1,2\n")
    with pytest.raises(DataError, match=r"b\.csv has the columns D, loss"):
        read_table(tmp_path)


def test_parquet_and_json_lines_read_alike(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"N": [10**9, 2 * 10**9], "loss": [2.5, np.nan], "name": ["a", "b"]})
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "t.csv", index=False)
    for file in ("t.jsonl", "t.csv"):
        table = read_table(tmp_path / file)
        assert table["N"].dtype == float and table["N"].tolist() == [1e9, 2e9] and np.isnan(table["loss"][1])
        assert table["name"].tolist() == ["a", "b"]


def test_a_column_that_stands_twice_is_refused(tmp_path) -> None:
    (tmp_path / "runs.csv").write_text("N,loss,loss\n1,2,3\n2,2,3\n")
    with pytest.raises(DataError, match="'loss' stands 2 times"):
        read_table(tmp_path / "runs.csv")


@pytest.mark.parametrize(
    "header", ["Step,a - loss__MIN", "Step,a - Step", "Step,a - step,a - loss", "Step,a - run,a - loss"]
)
def test_odd_exports_keep_columns_of_one_length(tmp_path, header: str) -> None:
    """Extremes alone, or metrics that are called as the result's own columns."""
    (tmp_path / "runs.csv").write_text(
        header + "\n" + "\n".join(",".join("1" for _ in header.split(",")) for _ in range(2))
    )
    table = read_table(tmp_path / "runs.csv")
    assert len({len(column) for column in table.values()}) == 1 and len(table) >= 1
