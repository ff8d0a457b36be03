# SPDX-License-Identifier: GPL-3.0-or-later
"""What streams, subjects and the bucket on NATS are called: the interface of an engine of your own (docs/engine.md)."""

JOBS = "CONVERSION_JOBS"
JOBS_SUBJECT = "conversion.jobs"
ENGINES = "engines"
GPU_JOBS = "CONVERSION_GPU_JOBS"
GPU_JOBS_SUBJECT = "conversion.gpu_jobs"
GPU_ENGINES = "gpu_engines"
GPU_HERE = "conversion.gpu_here"  # engines with a GPU that take work answer requests under it
BLOBS = "CONVERSION_BLOBS"
BLOBS_SUBJECT = "conversion.blobs"
SOURCE = "source"
DEAD = "CONVERSION_DEAD"
DEAD_SUBJECT = "conversion.dead"
OPERATIONS = "conversion_operations"
PIECE = 512 * 1024  # NATS takes messages of up to 1 MiB by default
