# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as data: `keys` declares the file, `reader` and `rules` refuse it or read it into `model`, `lists` and the files it
gathers from say what AWS must have for it, `plan` compares that with what there is, `document` writes schema and table.
"""
