# SPDX-License-Identifier: GPL-3.0-or-later
"""Reference conversion engine and API of boring.fleet: CAD and mesh files from one format to another."""

__version__ = "0.1.0"

#: Raised whenever the same input may give other bytes than before; part of every cache key.
CONVERTER_REVISION = 2
