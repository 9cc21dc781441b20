"""The kinds of columns, each with the formula that turns its values into numbers.

x is what stands in a row, μ and σ are mean and standard deviation in the rows that were learnt from:

    number, yes/no   (1) y = (x - μ) / σ         yes is 1 and no is 0; 0, the mean, where nothing stands
                     (2) ... and 1 where nothing stands, if that occurred in those rows
                     (6), (7) a logarithm, and bins beside the number: see number.py
    category         (3) yₗ = [x is level l]     one number a level, one for the rare ones, one for nothing, or
                     (4) y = number of the level, which an Embedding turns into a vector (see `layers.columns`)
    text             the numbers of its words, which an Embedding turns into vectors: see text.py
    date             (5) trend (t - μ) / σ; the sine and cosine of 2π times the part of the year, of the week and of the
                         day that has passed; all of them 0 where nothing stands, and (2)

(1) with the mean in place of what is missing, and not the median, because a mean can be had in one pass and in bounded
memory, and to a network that is told of it by (2) it is one number as good as another.
"""

from __future__ import annotations

from .base import Column, Notes
from .category import CategoryColumn
from .date import DateColumn
from .number import NumberColumn, YesNoColumn
from .text import TextColumn

__all__ = ["CategoryColumn", "Column", "DateColumn", "Notes", "NumberColumn", "TextColumn", "YesNoColumn"]
