# SPDX-License-Identifier: Apache-2.0
#
# One build for everything. `make help` lists the goals.
#
# How it is put together: every room of the house has a room.mk that says which libraries,
# programs, drivers, unit tests and fuzz targets it holds, with the functions defined below.
# Everything that is built lands in build/ (or in $B, to build somewhere else):
#
#   build/<program>             programs
#   build/providers/<name>.so   drivers
#   build/unit/<test>           unit tests
#   build/gen/, build/obj/      generated code and objects
#
# SAN=address, SAN=thread and SAN=fuzz build a variant of all of it in build/asan, build/tsan
# and build/fuzz; SAN=analyze compiles all of it under gcc's static analyzer, in build/analyze.

VERSION := 0.1.0
.DEFAULT_GOAL := all
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules
.SECONDEXPANSION:
.DELETE_ON_ERROR:

SAN ?=
B ?= build$(if $(SAN),/$(san_dir))
san_dir = $(or $(san_dir_$(SAN)),$(error SAN=$(SAN): use address, thread, fuzz or analyze))
san_dir_address := asan
san_dir_thread := tsan
san_dir_fuzz := fuzz
san_dir_analyze := analyze

CC := $(if $(filter fuzz,$(SAN)),clang,gcc)
CXX := $(if $(filter fuzz,$(SAN)),clang++,g++)
AR := ar
PROTOC_C := protoc-c
PKG_CONFIG := pkg-config

warnings := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wvla -Wformat=2 -Wundef -Wpointer-arith -Wwrite-strings -Werror
warnings_c := -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
hardening := -fstack-protector-strong -fPIC $(if $(SAN),,-D_FORTIFY_SOURCE=3)
san_flags_address := -DPEERPOD_FAULTS -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
san_flags_thread := -fsanitize=thread -fno-omit-frame-pointer
san_flags_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DFUZZING
# Two checks of gcc 12 are left out: it loses what is stored at a computed index and calls it a leak (leaks are
# LeakSanitizer's, in every test), and takes what a library stores through a pointer as never stored (clang's
# analyzer and -Wmaybe-uninitialized look for that).
san_flags_analyze := -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value
san_flags = $(san_flags_$(SAN))
OPT ?= -O2 -g
pkg_cflags = $(shell $(PKG_CONFIG) --cflags libnl-route-3.0 libxml-2.0 2>/dev/null)
# GNU C says that linux is 1; the OCI specification has a member of that name.
cppflags = -D_GNU_SOURCE -Ulinux -DPEERPOD_VERSION='"$(VERSION)"' -I. -Ilib -I$B/gen $(pkg_cflags)
CFLAGS_ALL = -std=gnu17 $(OPT) $(warnings) $(warnings_c) $(hardening) $(san_flags) $(cppflags) $(CFLAGS)
CXXFLAGS_ALL = -std=c++17 $(OPT) $(warnings) $(hardening) $(san_flags) $(cppflags) $(CXXFLAGS)
LDFLAGS_ALL = $(san_flags) -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
# Code that reads bytes off a wire may not convert integers silently.
strict_rooms := lib/ttrpc/% vsock-proxy/%
room_flags = $(if $(filter $(strict_rooms),$<),-Wconversion)

comma := ,

# ---- functions that the rooms use ------------------------------------------------------------

# $(call library,NAME,LIBRARIES IT NEEDS,PKG-CONFIG MODULES): lib/NAME/*.c, *.cc
define library_template
libraries += $(1)
lib_$(1)_needs := $(2)
lib_$(1)_pkgs := $(3)
lib_$(1)_src := $$(wildcard lib/$(1)/*.c lib/$(1)/*.cc)
lib_$(1)_proto := $$(wildcard lib/$(1)/*.proto)
$$B/lib/lib$(1).a: $$$$(call objects_of,$$$$(lib_$(1)_src)) $$$$(call proto_objects_of,$$$$(lib_$(1)_proto))
endef
library = $(eval $(call library_template,$(strip $(1)),$(2),$(3)))

# $(call program,NAME,SOURCES,LIBRARIES,PKG-CONFIG MODULES[,EXTRA LINK FLAGS])
define program_template
programs += $(1)
prog_$(1)_src := $(2)
prog_$(1)_libs := $(3)
prog_$(1)_pkgs := $(4)
prog_$(1)_ldflags := $(5)
$$B/$(1): $$$$(call objects_of,$$$$(prog_$(1)_src)) $$$$(call lib_files,$$$$(prog_$(1)_libs))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	@$$(call linker,$(3)) -pie $$(LDFLAGS_ALL) $(5) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(call pkg_libs,$(3),$(4)) -lpthread -ldl
endef
program = $(eval $(call program_template,$(strip $(1)),$(2),$(3),$(4),$(5)))

# $(call driver,NAME,SOURCES,LIBRARIES,PKG-CONFIG MODULES): build/providers/NAME.so. What lib/base
# offers comes from the program that loads it (see loader_ldflags), so that there is one log and
# one error model; what a driver defines itself is its own (-Bsymbolic), whatever the program exports.
define driver_template
drivers += $(1)
driver_$(1)_src := $(2)
$$B/providers/$(1).so: $$$$(call objects_of,$$$$(driver_$(1)_src)) $$$$(filter-out %/libbase.a,$$$$(call lib_files,$(3)))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	@$$(CC) -shared -Wl,-Bsymbolic $$(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(call pkg_libs,$(3),$(4)) -lpthread
endef
driver = $(eval $(call driver_template,$(strip $(1)),$(2),$(3),$(4)))
# What a program that loads drivers passes as extra link flags. AddressSanitizer wraps the XDR functions and looks for
# the real ones when the program starts, so the library that libvirt has them from must be there by then.
loader_ldflags = $(if $(filter address,$(SAN)),-Wl$(comma)--no-as-needed -l:libtirpc.so.3 -Wl$(comma)--as-needed) -Wl,--export-dynamic -Wl,--whole-archive $B/lib/libbase.a -Wl,--no-whole-archive

# $(call unit_test,NAME,EXTRA SOURCES,LIBRARIES,PKG-CONFIG MODULES): tests/unit/NAME.c, cmocka
define unit_template
unit_tests += $(1)
unit_$(1)_src := tests/unit/$(1).c $(2)
$$B/unit/$(1): $$$$(call objects_of,$$$$(unit_$(1)_src)) $$$$(call lib_files,$(3))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	@$$(call linker,$(3)) -pie $$(LDFLAGS_ALL) $(5) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(call pkg_libs,$(3),$(4) cmocka) -lpthread -ldl
endef
unit_test = $(eval $(call unit_template,$(strip $(1)),$(2),$(3),$(4),$(5)))

# $(call fuzz_target,NAME,EXTRA SOURCES,LIBRARIES,PKG-CONFIG MODULES): tests/fuzz/NAME.c, libFuzzer;
# the corpus is tests/fuzz/corpus/NAME/.
define fuzz_template
fuzz_targets += $(1)
fuzz_$(1)_src := tests/fuzz/$(1).c $(2)
$$B/fuzz-$(1): $$$$(call objects_of,$$$$(fuzz_$(1)_src)) $$$$(call lib_files,$(3))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	@$$(call linker,$(3)) $$(LDFLAGS_ALL) -fsanitize=fuzzer -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(call pkg_libs,$(3),$(4)) -lpthread -ldl
endef
fuzz_target = $(eval $(call fuzz_template,$(strip $(1)),$(2),$(3),$(4)))

objects_of = $(patsubst %.cc,$B/obj/%.o,$(patsubst %.c,$B/obj/%.o,$(1)))
proto_objects_of = $(patsubst lib/%.proto,$B/gen/%.pb-c.o,$(1))
closure = $(sort $(foreach l,$(1),$(l) $(call closure,$(lib_$(l)_needs))))
lib_files = $(foreach l,$(call closure,$(1)),$B/lib/lib$(l).a)
# toml++ needs little of the C++ library: what is used of it goes into the program, not all of it into memory.
linker = $(if $(call has_cxx,$(1)),$(CXX) $(if $(SAN),,-static-libstdc++ -static-libgcc),$(CC))
has_cxx = $(filter %.cc,$(foreach l,$(call closure,$(1)),$(lib_$(l)_src)))
pkg_libs = $(shell $(PKG_CONFIG) --libs $(sort $(2) $(foreach l,$(call closure,$(1)),$(lib_$(l)_pkgs))) 2>/dev/null)

# ---- the rooms --------------------------------------------------------------------------------

rooms := $(wildcard lib/*/room.mk) $(wildcard providers/room.mk providers/*/room.mk adaptor/room.mk \
	peerpodctl/room.mk vsock-proxy/room.mk podvm-image/room.mk podvm-image/*/room.mk csi/room.mk cluster/*/room.mk tests/room.mk \
	tests/*/room.mk tests/*/*/room.mk)
include $(rooms)

# ---- rules ------------------------------------------------------------------------------------

protos := $(foreach l,$(libraries),$(lib_$(l)_proto))
generated := $(patsubst lib/%.proto,$B/gen/%.pb-c.h,$(protos))
.SECONDARY: $(generated)

$B/gen/%.pb-c.c $B/gen/%.pb-c.h &: lib/%.proto
	@mkdir -p $(@D)
	@echo "  PROTO $<"
	@$(PROTOC_C) -Ilib --c_out=$B/gen $<

$B/gen/%.pb-c.o: $B/gen/%.pb-c.c | $$(generated)
	@$(CC) $(filter-out -Wundef,$(CFLAGS_ALL)) -MMD -MP -c -o $@ $<

$B/obj/%.o: %.c | $$(generated)
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS_ALL) $(room_flags) -MMD -MP -c -o $@ $<

$B/obj/%.o: %.cc | $$(generated)
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	@$(CXX) $(CXXFLAGS_ALL) -MMD -MP -c -o $@ $<

$B/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $(filter %.o,$^)

-include $(shell find $B/obj $B/gen -name '*.d' 2>/dev/null)

.PHONY: all programs drivers unit unit-programs fuzz-programs clean help
all: programs drivers ## build the programs and the drivers
programs: $(addprefix $B/,$(programs))
drivers: $(foreach d,$(drivers),$B/providers/$(d).so)
unit-programs: $(addprefix $B/unit/,$(unit_tests))
fuzz-programs: $(addprefix $B/fuzz-,$(fuzz_targets))

unit: unit-programs ## run the unit tests (SAN=address, SAN=thread: under that sanitizer)
	@set -e; for t in $(unit_tests); do echo "  UNIT  $$t"; $B/unit/$$t; done

clean: ## remove build/
	rm -rf build

help: ## list the goals
	@echo "Goals:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
