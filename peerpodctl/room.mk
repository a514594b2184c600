# SPDX-License-Identifier: Apache-2.0
# peerpodctl: looks at and helps with sandboxes, instances, initdata and the choice of an instance type.
peerpodctl_libs := base proto ttrpc initdata podnetwork
# All but the program's own door: what the tests link.
peerpodctl_core_src := $(filter-out peerpodctl/main.c,$(wildcard peerpodctl/*.c)) $(choice_src) $(journal_look_src) $(provider_loader_src)
$(call program,peerpodctl,peerpodctl/main.c $(peerpodctl_core_src),$(peerpodctl_libs),jansson,$(loader_ldflags))
$(call unit_test,peerpodctl_test,$(peerpodctl_core_src),$(peerpodctl_libs),jansson,$(loader_ldflags))
$(call fuzz_target,choose_request,peerpodctl/request.c peerpodctl/amount.c $(choice_src),base)
