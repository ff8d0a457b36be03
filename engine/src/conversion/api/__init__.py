# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API: takes files, gives results. Needs no OpenCascade."""
