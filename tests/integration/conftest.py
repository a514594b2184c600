# SPDX-License-Identifier: Apache-2.0
"""Puts tests/ on the path, so that tests say `from peerpod import ttrpc`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
