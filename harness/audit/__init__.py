# SPDX-License-Identifier: GPL-2.0
"""Every backend of the kernel, held against what was reviewed, and what compiles it."""
