# SPDX-License-Identifier: BSL-1.0
"""The parts of ../run: build, processes, measure, syscalls, report, environment."""
