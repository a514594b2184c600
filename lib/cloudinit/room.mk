# SPDX-License-Identifier: Apache-2.0
# lib/cloudinit: the user data document: the subset of cloud-config that both halves speak.
$(call library,cloudinit,base,yaml-0.1)
$(call unit_test,cloudinit_test,,cloudinit)
$(call fuzz_target,cloudinit,,cloudinit)
