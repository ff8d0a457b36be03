# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of the dotenv files."""

from __future__ import annotations


class DotenvError(Exception):
    """A sentence for the user: the file, the environment, the reason, the way out. Never a key, never a value."""
