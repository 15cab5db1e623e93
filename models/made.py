"""How the hot path makes a named tuple: of all its fields in order, in half the time that calling the class takes."""

from __future__ import annotations

from typing import Final

# ``made(Class, (first, second, ...))``. Nothing counts them here; who unpacks too few fails at once.
made: Final = tuple.__new__
