"""Files whose header is not the first line, or shorter than the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubp.errors import DataError
from gpubp.tables import fit

pyarrow = pytest.importorskip("pyarrow")

ROWS = "".join(f"{i}.5,{'ab'[i % 2]},{i * 7 % 30}.25\n" for i in range(40))


@pytest.mark.parametrize("title", ["Report 2024\n\n", "# made by a program\n# 2024\n", '"Report, 2024",,\n,,\n'])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_lines_above_the_header_are_named(tmp_path: Path, title: str, mark: str) -> None:
    (tmp_path / "a.csv").write_text(title.replace(",,", 2 * mark) + ('area,"town",price\n' + ROWS).replace(",", mark))
    with pytest.raises(DataError, match="no column 'price' for the target.*; line 3 holds 'price': .*delete what"):
        fit(tmp_path / "a.csv", "price")
    (tmp_path / "a.csv").write_text("area,town,price\n" + ROWS)
    with pytest.raises(DataError, match="no column 'cost' for the target; it has area, town, price$"):
        fit(tmp_path / "a.csv", "cost")


def test_rows_above_the_header_of_a_sheet_are_named(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["Report"], [], ["area", "price"], [1.5, 2.5], [2.5, 3.5]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="no column 'price' for the target.*; row 3 holds 'price'"):
        fit(tmp_path / "a.xlsx", "price")


def test_rows_that_end_in_a_separator_and_a_header_that_does_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("area,town,price\n" + ROWS.replace("\n", ",\n"))
    with pytest.raises(DataError, match="a.csv: the lines end in a comma, but not the header; add a comma at its end"):
        fit(tmp_path / "a.csv", "price")
    (tmp_path / "a.csv").write_text("area,town,price,\n" + ROWS.replace("\n", ",\n"))
    assert [left.name for left in fit(tmp_path / "a.csv", "price").left_out] == ["column 4"]
    (tmp_path / "a.csv").write_text("area,town,price\n" + ROWS + "1,a,2,3\n")
    with pytest.raises(DataError, match="line 42: 4 values, and the header names 3 columns; put text with a comma"):
        fit(tmp_path / "a.csv", "price")
