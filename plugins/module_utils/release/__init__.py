# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of many releases matter to what runs here.

Each file does one thing: `model` has the words and versions, `headings` finds where releases begin, `feed` reads release notes in the
forms in which they come, `rules` and `products` are data, `advise` decides.
"""
