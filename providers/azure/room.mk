# SPDX-License-Identifier: Apache-2.0
# providers/azure: pod VMs on Microsoft Azure.
azure_src := $(wildcard providers/azure/*.c) $(choice_src)
azure_pkgs := libcurl libcrypto jansson
$(call driver,azure,$(azure_src),http,$(azure_pkgs))
$(call unit_test,azure_test,$(azure_src) $(provider_shared_src),http,$(azure_pkgs))
$(call unit_test,azure_answers_test,$(azure_src) $(provider_shared_src),http,$(azure_pkgs))
$(call fuzz_target,azure_json,$(azure_src) $(provider_shared_src),http,$(azure_pkgs))
$(call fuzz_target,azure_token,$(azure_src) $(provider_shared_src),http,$(azure_pkgs))
