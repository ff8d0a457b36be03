# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: takes jobs from the queue and converts each in a process of its own."""
