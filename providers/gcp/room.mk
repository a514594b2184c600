# SPDX-License-Identifier: Apache-2.0
# providers/gcp: pod VMs on Google Compute Engine.
gcp_src := $(wildcard providers/gcp/*.c) $(choice_src)
gcp_pkgs := libcurl libcrypto jansson
$(call driver,gcp,$(gcp_src),http,$(gcp_pkgs))
$(call unit_test,gcp_test,$(gcp_src) $(provider_shared_src),http,$(gcp_pkgs))
$(call unit_test,gcp_answers_test,$(gcp_src) $(provider_shared_src),http,$(gcp_pkgs))
$(call fuzz_target,gcp_json,$(gcp_src) $(provider_shared_src),http,$(gcp_pkgs))
$(call fuzz_target,gcp_credentials,$(gcp_src) $(provider_shared_src),http,$(gcp_pkgs))
$(call fuzz_target,gcp_names,$(gcp_src) $(provider_shared_src),http,$(gcp_pkgs))
