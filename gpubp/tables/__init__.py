"""Tables: CSV and Parquet files and DataFrames become rows of numbers, and predictions become values of the target.

    prepared = fit("houses.csv", target="price")       what each column is, in one pass over the file
    X, t, _ = prepared.arrays("houses.csv")             (rows, width) float32, and targets as a loss takes them
    prepared.keep_in(network)                           saved with it, so that prediction needs the model file alone
    Preparation.of(network).arrays("new.csv", target=False)

Needs pyarrow: pip install 'gpubp[tables]'.
"""

from __future__ import annotations

from .columns import CategoryColumn, Column, DateColumn, Notes, NumberColumn, TextColumn, YesNoColumn
from .fitting import fit
from .preparation import METADATA, LeftOut, Preparation, close_to, held_out, joined
from .table import ENDINGS, CellError, Table, is_table
from .target import TableTarget

__all__ = [
    "ENDINGS",
    "METADATA",
    "CategoryColumn",
    "CellError",
    "Column",
    "DateColumn",
    "LeftOut",
    "Notes",
    "NumberColumn",
    "Preparation",
    "Table",
    "TableTarget",
    "TextColumn",
    "YesNoColumn",
    "close_to",
    "fit",
    "held_out",
    "is_table",
    "joined",
]
