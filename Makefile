# What a person does with a clone. `make` alone lists it; infra/setup holds the scripts.
# Everything is built from Cargo.lock as it is; cargo uses the network only for crates that this machine hasn't yet.

PORT ?= 8080
DATA_DIR ?= .daybook
# Where the release build lands, as cargo decides it.
PROGRAM = $(or $(CARGO_TARGET_DIR),target)/release/daybook

# Installs what is missing, or says all of it at once (exit status 2); offline when nothing is. Then the program and the
# tests know their NATS server by the environment.
PREPARE = infra/setup/install-postgres.sh && DAYBOOK_NATS_SERVER=$$(infra/setup/install-nats.sh) && export DAYBOOK_NATS_SERVER
# Tests run in their crate's folder, so the path must not depend on the current one.
ifdef DAYBOOK_DATA
override export DAYBOOK_DATA := $(abspath $(DAYBOOK_DATA))
endif

.DEFAULT_GOAL := help
.PHONY: help up down test check accept soak bench prerequisites

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target does; do printf '  make %-14s %s\n' "$$target" "$$does"; done

up: ## build and start a shop with demo products on PORT (8080), data in DATA_DIR (.daybook)
	@infra/setup/up.sh - "$(DATA_DIR)" "$(PORT)" || { [ $$? -eq 3 ] && $(PREPARE) \
		&& cargo build --release --locked -p gateway && infra/setup/up.sh "$(PROGRAM)" "$(DATA_DIR)" "$(PORT)"; }

down: ## stop the shop that runs in DATA_DIR; its data stays
	@infra/setup/down.sh "$(DATA_DIR)"

test: ## run every test that needs nothing but this clone
	@$(PREPARE) && cargo test --workspace --locked

check: ## formatting and lints, warnings refused
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

accept: ## run the acceptance tests on the real catalogues in DAYBOOK_DATA
	@[ -d "$$DAYBOOK_DATA" ] || { echo "make accept reads real catalogues, and $${DAYBOOK_DATA:-DAYBOOK_DATA (unset)} is no folder: DAYBOOK_DATA=../shared/data make accept" >&2; exit 2; }
	@$(PREPARE) && cargo test --workspace --locked --test accept

soak: ## the long tests, release build: 10 rounds of each race, 50 kill -9 of the shop, a minute of stress on the log; then every rule of the shop is changed once
	@$(PREPARE) && DAYBOOK_TEST_ROUNDS=10 DAYBOOK_TEST_KILLS=50 DAYBOOK_TEST_STRESS_S=60 DAYBOOK_TEST_STRESS_KILLS=20 \
		DAYBOOK_TEST_STRESS_EVENTS=300000 DAYBOOK_TEST_NATS_KILLS=5 \
		cargo test --workspace --locked --release --test e2e -- --test-threads 1 --nocapture races crash stress history verify restart stream deadline payment promotion inventory setting steps
	@infra/setup/mutants.sh

bench: ## measure the store, the log, search in 100,000 products, and shoppers' visits (with DAYBOOK_DATA on its real catalogue), release build
	@$(PREPARE) && cargo build --release --locked -p gateway && for what in store log search; do target/release/daybook bench $$what || exit; done \
		&& target/release/daybook bench http $${DAYBOOK_DATA:+--products "$$DAYBOOK_DATA/icecat/products.shopify.csv"}

prerequisites: ## install what is missing, or say all of it at once
	@$(PREPARE)
