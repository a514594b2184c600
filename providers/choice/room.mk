# SPDX-License-Identifier: Apache-2.0
# providers/choice: which instance type, in which zone, spot or on-demand.
$(call unit_test,choice_test,$(choice_src),base)
$(call unit_test,fallback_test,$(choice_src),base)
$(call unit_test,price_files_test,$(choice_src),base)
$(call fuzz_target,prices,$(choice_src),base)
$(call fuzz_target,catalogue_file,$(choice_src),base)
