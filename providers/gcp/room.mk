# SPDX-License-Identifier: Apache-2.0
# providers/gcp: pod VMs on Google Compute Engine.
gcp_src := $(wildcard providers/gcp/*.c) $(choice_src)
gcp_pkgs := libcurl libcrypto jansson
$(call driver,gcp,$(gcp_src),http,$(gcp_pkgs))
