# SPDX-License-Identifier: Apache-2.0
# providers/aws: pod VMs on Amazon EC2.
aws_src := $(wildcard providers/aws/*.c) $(choice_src)
aws_pkgs := libcurl libxml-2.0 libcrypto jansson
$(call driver,aws,$(aws_src),http,$(aws_pkgs))
$(call unit_test,aws_test,$(aws_src) $(provider_shared_src),http,$(aws_pkgs))
$(call unit_test,aws_answers_test,$(aws_src) $(provider_shared_src),http,$(aws_pkgs))
$(call fuzz_target,aws_xml,$(aws_src) $(provider_shared_src),http,$(aws_pkgs))
$(call fuzz_target,aws_credentials,$(aws_src) $(provider_shared_src),http,$(aws_pkgs))
$(call fuzz_target,aws_text,$(aws_src) $(provider_shared_src),http,$(aws_pkgs))
