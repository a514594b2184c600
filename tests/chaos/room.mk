# SPDX-License-Identifier: Apache-2.0
# tests/chaos: pods come and go while what serves them is killed. SAN=thread: against that build.
CHAOS_SECONDS ?= 60
.PHONY: chaos
chaos: ## kill and replace what serves pods for CHAOS_SECONDS (60); CHAOS_ARGS="--driver aws --seed 7" (root)
	@tests/prepare build test
	@$(MAKE) SAN=$(or $(SAN),address) all bundles python-protos
	@PEERPOD_BUILD=build/$(san_dir_$(or $(SAN),address)) .cache/venv/bin/python tests/chaos/chaos.py \
		--seconds $(CHAOS_SECONDS) $(CHAOS_ARGS)
