# SPDX-License-Identifier: Apache-2.0
# Every parser has a fuzz target from its first day. The corpus in the tree is where runs start; what
# a run finds new stays in build/fuzz/corpus. A crash is kept in build/fuzz/ and ends the run.
FUZZ_SECONDS ?= 30
FUZZ_ONLY ?= $(fuzz_targets)

.PHONY: fuzz run-fuzz
fuzz: ## run every fuzz target for FUZZ_SECONDS (30) from the corpus in the tree; FUZZ_ONLY=name
	@$(MAKE) SAN=fuzz run-fuzz

run-fuzz: $(addprefix $B/fuzz-,$(FUZZ_ONLY))
	@set -e; for t in $(FUZZ_ONLY); do \
		mkdir -p $B/corpus/$$t tests/fuzz/corpus/$$t; \
		printf '  FUZZ  %-24s' $$t; \
		if ! $B/fuzz-$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
			-artifact_prefix=$B/$$t- $B/corpus/$$t tests/fuzz/corpus/$$t >$B/$$t.log 2>&1; then \
			echo " FAILED"; tail -n 40 $B/$$t.log; exit 1; \
		fi; \
		awk '/number_of_executed_units/ {n=$$2} /new_units_added/ {a=$$2} END {print " " n " inputs, " a " new"}' $B/$$t.log; \
	done
