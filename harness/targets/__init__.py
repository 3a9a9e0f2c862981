# SPDX-License-Identifier: GPL-2.0
"""One file for each `make` target, and what only these need."""
