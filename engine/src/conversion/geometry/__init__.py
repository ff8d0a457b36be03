# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversion itself: file in, file out. Runs only in a job's own process (see worker.zygote)."""
