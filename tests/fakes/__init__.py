# SPDX-License-Identifier: Apache-2.0
"""Clouds that run in a test's own process: server.py is what they share, instances.py what an instance is to them."""
