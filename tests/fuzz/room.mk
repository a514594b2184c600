# SPDX-License-Identifier: Apache-2.0
# Every parser has a fuzz target from its first day. The corpus in the tree is where runs start; what
# a run finds new stays in build/fuzz/corpus. A crash is kept in build/fuzz/ and ends the run.
FUZZ_SECONDS ?= 30
FUZZ_ONLY ?= $(fuzz_targets)

.PHONY: fuzz run-fuzz
fuzz: ## run every fuzz target for FUZZ_SECONDS (30) from the corpus in the tree; FUZZ_ONLY=name
	@$(MAKE) SAN=fuzz run-fuzz

run-fuzz: $(addprefix run-fuzz-,$(FUZZ_ONLY))
run-fuzz-%: $B/fuzz-%
	@mkdir -p $B/corpus/$* tests/fuzz/corpus/$*
	@if $B/fuzz-$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix=$B/$*- $B/corpus/$* tests/fuzz/corpus/$* >$B/$*.log 2>&1; then \
		awk '/number_of_executed_units/ {n=$$2} /new_units_added/ {a=$$2} \
			END {printf "  FUZZ  %-24s %s inputs, %s new\n", "$*", n, a}' $B/$*.log; \
	else \
		echo "  FUZZ  $* FAILED"; tail -n 40 $B/$*.log; exit 1; \
	fi
