# SPDX-License-Identifier: Apache-2.0
# podvm-image/mini-agent: a small agent for local runs and tests, and the pause program inside it.
mini_agent := podvm-image/mini-agent
$(call program,mini-agent,$(filter-out $(mini_agent)/pause.c,$(wildcard $(mini_agent)/*.c)),ttrpc)

# The pause program stands alone in its root file system: static, no C library, no sanitizer.
pause_cflags := -std=gnu17 -O2 $(warnings) $(warnings_c) -ffreestanding -fno-stack-protector -fno-pie \
	-fcf-protection=none -fno-asynchronous-unwind-tables
pause_ldflags := -static -nostdlib -no-pie -s -Wl,--build-id=none -Wl,-z,norelro -Wl,-z,noseparate-code
$B/gen/mini-agent/pause: $(mini_agent)/pause.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@gcc $(pause_cflags) $(pause_ldflags) -o $@ $<
$B/gen/mini-agent/pause.inc: $B/gen/mini-agent/pause
	@od -An -v -tx1 $< | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g' > $@
$B/obj/$(mini_agent)/rootfs.o: $B/gen/mini-agent/pause.inc
