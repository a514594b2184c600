# SPDX-License-Identifier: Apache-2.0
# podvm-image/init: the first process of the local image (and of a netns instance), and what its DHCP
# client runs.
init_src := $(filter-out podvm-image/init/main.c podvm-image/init/dhcp.c,$(wildcard podvm-image/init/*.c))
$(call program,podvm-init,podvm-image/init/main.c $(init_src),base,libnl-3.0 libnl-route-3.0)
$(call program,podvm-dhcp,podvm-image/init/dhcp.c podvm-image/init/interface.c podvm-image/init/stage.c,base,libnl-3.0 libnl-route-3.0)
$(call unit_test,podvm_init_test,$(init_src),base,libnl-3.0 libnl-route-3.0)
