# SPDX-License-Identifier: Apache-2.0
# lib/podnetwork: both ends of a pod's network tunnel, over netlink and libnftables. That one is loaded when it is
# needed (nftables.c); a program that always needs it links it all the same, and what makes images sees it there.
$(call library,podnetwork,base,libnl-3.0 jansson)
nftables_ldflags := -Wl$(comma)--no-as-needed -lnftables -Wl$(comma)--as-needed
$(call unit_test,podnetwork_json_test,,podnetwork)
$(call fuzz_target,podnetwork_json,,podnetwork)
$(call program,podnet-tool,tests/tools/podnet.c,podnetwork,)
$(call unit_test,podnetwork_test,,podnetwork)
$(call unit_test,filter_test,,podnetwork)
$(call fuzz_target,netlink_reply,,podnetwork)
