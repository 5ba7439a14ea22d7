"""Coded columns: the numbers that a density of a table is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Code"]


@dataclass(frozen=True)
class Code:
    """One coded column.

    ============  ===============================================  ========================
    kind          codes                                            log probability
    ============  ===============================================  ========================
    ``real``      real numbers                                     density
    ``whole``     whole numbers, of a wide range                   probability
    ``level``     0 to ``n_levels`` - 1, in order                  probability
    ``bit``       0 or 1                                           probability
    ``class``     0 to ``n_levels`` - 1, without order             probability
    ============  ===============================================  ========================

    Attributes
    ----------
    name : str
    kind : str
        One of the kinds in the table above.
    n_levels : int
        Number of codes of a level, bit or class.
    low, high : float, optional
        Ends of the possible codes, known beforehand. Reals are above ``low`` and below ``high``; whole numbers may be equal
        to them.
    without : tuple of int
        Whole numbers that are coded elsewhere and have no probability here.
    """

    name: str
    kind: str
    n_levels: int = 0
    low: float | None = None
    high: float | None = None
    without: tuple[int, ...] = ()

    @property
    def is_number(self) -> bool:
        """True if codes are in order."""
        return self.kind in ("real", "whole", "level")
