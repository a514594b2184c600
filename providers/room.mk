# SPDX-License-Identifier: Apache-2.0
# providers: what a program that loads drivers links: the loader, and what drivers hand out or fill
# in (drivers resolve that from the program, as they do lib/base). A folder per driver below.
provider_shared_src := providers/instance.c providers/check_report.c
provider_loader_src := providers/loader.c $(provider_shared_src)
choice_src := $(wildcard providers/choice/*.c)
$(call unit_test,loader_test,$(provider_loader_src),base)
$(call unit_test,check_report_test,providers/check_report.c,base)

# What instance types cost, beside the drivers that rank by it.
price_files := $(patsubst providers/%/prices.json,$B/providers/prices/%.json,$(wildcard providers/*/prices.json))
drivers: $(price_files)
$(foreach f,$(price_files),$(eval $B/providers/$(basename $(notdir $f)).so: | $f))
$B/providers/prices/%.json: providers/%/prices.json
	@install -D -m 0644 $< $@
