# SPDX-License-Identifier: GPL-2.0
"""Mistakes that exploring or a suite must notice."""
