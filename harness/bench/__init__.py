# SPDX-License-Identifier: GPL-2.0
"""What fences cost: measurements, claims, pages and plots, and the code of the hot paths."""
