# SPDX-License-Identifier: Apache-2.0
# tests/demo: one pod from nothing to nothing left.
DRIVER ?= libvirt
.PHONY: demo
demo: ## one pod, one VM, from nothing to nothing left (DRIVER=libvirt, netns, aws, azure or gcp; root)
	@tests/demo/run $(DRIVER)
