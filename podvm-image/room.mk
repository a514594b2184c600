# SPDX-License-Identifier: Apache-2.0
# podvm-image: the images that pod VMs boot from. podvm-image/build is the recipe.

FLAVOUR ?= local
image_programs := podvm-init podvm-dhcp process-user-data agent-protocol-forwarder azure-ready mini-agent
export KATA_AGENT ATTESTATION_AGENT CONFIDENTIAL_DATA_HUB API_SERVER_REST PAUSE_BUNDLE AGENT_POLICY OVERLAY IMAGE_VERSION FORMATS

.PHONY: image
image: $$(addprefix $$B/,$$(image_programs)) ## make the pod VM image (FLAVOUR=local or full; KATA_AGENT=path; FORMATS="vhd tar.gz" for clouds)
	@BUILD=$B podvm-image/build $(FLAVOUR)
