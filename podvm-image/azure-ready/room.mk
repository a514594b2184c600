# SPDX-License-Identifier: Apache-2.0
# podvm-image/azure-ready: tells Azure, from within the pod VM, that it has come up.
azure_ready_src := $(filter-out podvm-image/azure-ready/main.c,$(wildcard podvm-image/azure-ready/*.c))
$(call program,azure-ready,podvm-image/azure-ready/main.c $(azure_ready_src),http,expat)
$(call unit_test,azure_ready_test,$(azure_ready_src),http,expat)
$(call fuzz_target,azure_ready,$(azure_ready_src),http,expat)
