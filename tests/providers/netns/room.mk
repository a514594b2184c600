# SPDX-License-Identifier: Apache-2.0
# tests/providers/netns: a driver whose instances are namespaces of this machine. For tests, the demo
# and the bench; `make install` leaves it out.
netns_shared := tests/providers/netns/network.c tests/providers/netns/cgroup.c
$(call driver,netns,$(addprefix tests/providers/netns/,driver.c create.c find.c remove.c state.c trouble.c) \
	$(netns_shared),base,libnl-3.0 libnl-route-3.0 jansson)
$(call program,netns-instance,tests/providers/netns/instance.c tests/providers/netns/root.c \
	$(netns_shared),base,libnl-3.0 libnl-route-3.0)
# The test loads the driver and starts netns-instance.
$(call unit_test,netns_driver_test,$(provider_loader_src),base,,$(loader_ldflags))
$B/unit/netns_driver_test: | $B/providers/netns.so $B/netns-instance
