# SPDX-License-Identifier: Apache-2.0
# tests: the goals that check everything together.

.PHONY: python-protos bundles
# The messages of lib/proto for the Python tests; package agent becomes module agent_pb2.
python_protos = $(patsubst lib/proto/%.proto,$B/gen/python/%_pb2.py,$(wildcard lib/proto/*.proto))
python-protos: $$(python_protos)
$B/gen/python/%_pb2.py: lib/proto/%.proto
	@mkdir -p $(@D)
	@echo "  PROTO $<"
	@protoc -Ilib/proto --python_out=$(@D) $<

# Root file systems for mini-agent's containers in netns instances.
bundles: $B/bundles/busybox/config.json
$B/bundles/busybox/config.json: podvm-image/bundle
	@echo "  BUNDLE $(@D)"
	@podvm-image/bundle $B/bundles
	@touch $@
