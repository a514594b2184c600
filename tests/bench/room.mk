# SPDX-License-Identifier: Apache-2.0
# tests/bench: what it costs. tunnel-bench is built with the tunnel (vsock-proxy/room.mk).
.PHONY: bench
bench: ## measure tunnel, memory, pod start and boot; writes build/bench.json (root)
	@tests/prepare build demo
	@$(MAKE) all bundles python-protos
	@$(MAKE) image
	@/usr/bin/python3 tests/bench/bench.py
