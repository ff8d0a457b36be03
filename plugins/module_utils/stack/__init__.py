# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outputs of infrastructure stacks: asked of the tool that owns them, checked, and handed on with their types.

Each file does one thing: `outputs` reads what a tool printed, `tools` builds its command line and says why it failed, `types`
is the short list of types, `schema` is JSON Schema, `store` lets the tool run once however many ask, `select` picks
and refuses.
"""
