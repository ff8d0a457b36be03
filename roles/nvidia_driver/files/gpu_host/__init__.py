# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host knows of its GPUs: whether they work, what is declared of them, and their metrics. Standard library only."""
