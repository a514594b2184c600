# SPDX-License-Identifier: Apache-2.0
# providers: what a program that loads drivers links: the loader, and the release of what drivers
# hand out (drivers resolve that from the program, as they do lib/base). A folder per driver below.
provider_loader_src := providers/loader.c providers/instance.c
$(call unit_test,loader_test,$(provider_loader_src),base)
