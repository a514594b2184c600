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

.PHONY: test install
test: ## install what is needed, build, and run every test (root)
	@tests/suite

# What is made of sources below tests/, and what the image build alone uses, stays out.
PREFIX ?= /usr/local
test_programs = $(foreach p,$(programs),$(if $(filter tests/%,$(prog_$p_src)),$p))
test_drivers = $(foreach d,$(drivers),$(if $(filter tests/%,$(driver_$d_src)),$d))
image_only := podvm-init podvm-dhcp mini-agent
installed_programs = $(filter-out $(test_programs) $(image_only),$(programs))
installed_drivers = $(filter-out $(test_drivers),$(drivers))
install: programs drivers ## install programs and drivers below DESTDIR and PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/peerpod/providers/prices
	install -m 0755 $(addprefix $B/,$(installed_programs)) $(DESTDIR)$(PREFIX)/bin/
	install -m 0755 $(foreach d,$(installed_drivers),$B/providers/$(d).so) $(DESTDIR)$(PREFIX)/lib/peerpod/providers/
	$(if $(price_files),install -m 0644 $(price_files) $(DESTDIR)$(PREFIX)/lib/peerpod/providers/prices/)

.PHONY: docs list-programs
docs: programs drivers ## write docs/options.md from the tables in the programs
	@PEERPOD_BUILD=$B tests/docs/generate
list-programs:
	@echo $(filter-out $(test_programs),$(programs))
