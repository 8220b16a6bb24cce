# What a person types. `make help` lists it; .ci/run is what a change must pass.
.DEFAULT_GOAL := help
.PHONY: help demo test sim powercuts chaos museum mutations mutants fuzz night bench schemathesis dist fixtures pictures fmt lint doc tools packages binaries

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: binaries ## a central server and two shops, step by step, each step checked; KEEP=1 leaves them running
	cargo run --quiet --locked -p tests --bin demo -- $(if $(KEEP),--keep)

test: tools binaries ## every test; installs the few tools that they need where they are missing
	TOMBOLO_TRANSPORT=websocket cargo test --workspace --locked
	TOMBOLO_TRANSPORT=quic RUST_TEST_THREADS=4 cargo test --workspace --locked $(addprefix --test ,$(OVER_QUIC)) -- $(addprefix --skip ,$(ONCE))

# What starts both hubs runs over each transport, and waits for links over the one that is named; over QUIC four at a time, for these
# tests wait for processes. ONCE is what looks at the API, the browser or the command line of one side, where no link shows (access to
# definitions_and_imports and what follows it), and what goes over both transports in one run (transports, doors, frames, hubs; so does
# the binary `networks`, and `everything_at_once`). All others are pure, run in virtual time, look at the tree, or name their transports in
# the crate's own tests.
OVER_QUIC = main_job kills operations application bad_input devices
ONCE = everything_at_once thermostat:: access:: described:: query:: schemas:: till:: suite:: \
	doctor:: transports::quic_beside transports::where_quic transports::a_revoked \
	doors:: frames:: hubs:: definitions_and_imports folders_ports joins_that_cannot requests_that_cannot who_asks_the_cloud

sim: ## SEEDS=N histories in virtual time with everything that goes wrong in the field, and of each store alone; one that fails is made short and printed
	TOMBOLO_SEEDS=$(or $(SEEDS),1000) cargo test --release --locked -p tests --test schedules -- --nocapture any_plan any_history
	TOMBOLO_CASES=$(or $(SEEDS),1000) PROPTEST_CASES=$(or $(SEEDS),1000) cargo test --release --locked -p cloudhub --lib -- any_history_is algebra::
	TOMBOLO_CASES=$(or $(SEEDS),1000) cargo test --release --locked -p metamanager --test edge -- the_view_is
	@echo "one again: TOMBOLO_PLAN=SEED:STEP,... cargo test -p tests --test schedules -- --nocapture any_plan"

powercuts: ## cuts the power of both stores at any write of SEEDS=N histories; 175 are a million cuts
	TOMBOLO_CUT_SEEDS=$(or $(SEEDS),175) cargo test --release --locked -p tests --test schedules -- --nocapture a_cut_at_any_write

chaos: tools binaries ## MINUTES=N of both hubs, as built, while everything goes wrong at once; SEED=N for other faults
	cargo run --quiet --locked -p tests --bin chaos -- --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

museum: ## puts known mistakes back, one by one, and runs what must find them; ARGS='NAME...' for some
	cargo run --locked -p tests --bin museum -- $(ARGS)

mutations: ## the same with thirty small mistakes in the outbox, the stores and the drivers; ARGS='NAME...' for some
	cargo run --locked -p tests --bin museum -- --mutations $(ARGS)

# What both sides agree on, and what the cloud decides by: pure, so that their own package's tests are to find everything. cargo-mutants
# lists the mistakes; all of a package are built into one program (tests/src/mutants/). ARGS=--by-number leaves out what has to be built
# for itself; other ARGS are cargo-mutants' own.
MUTATED = proto/src/**/*.rs cloudhub/src/reconcile/**/*.rs
mutants: target/mutants/bin/cargo-mutants ## mistakes that a machine makes up, in proto and the reconciliation; FILES='proto/src/op.rs' or ARGS='--by-number' for some
	cargo run --quiet --locked -p tests --bin mutants -- $(foreach file,$(or $(FILES),$(MUTATED)),--file '$(file)') $(ARGS)

target/mutants/bin/cargo-mutants:
	cargo install --quiet --locked --root target/mutants --version 27.1.0 cargo-mutants

fuzz: ## MINUTES=N of libFuzzer before every decoder of outside bytes, TARGET='NAME...' for some; needs the nightly compiler
	cargo run --locked -p tests --bin fuzz -- --minutes $(or $(MINUTES),15) $(TARGET)

night: ## a night's worth of all of these, one after the other; chaos with the day's seed
	$(MAKE) sim SEEDS=$(or $(SEEDS),5000)
	$(MAKE) chaos MINUTES=60 SEED=$$(date +%j)
	$(MAKE) fuzz MINUTES=120
	$(MAKE) powercuts
	$(MAKE) mutations
	$(MAKE) museum

bench: ## the figures of docs/benchmarks.md, in release; ARGS='--help' for what can be chosen
	cargo build --release --locked -p cloudhub -p edgehub --bins
	cargo run --quiet --release --locked -p tests --bin bench -- $(ARGS)

schemathesis: tools binaries ## asks both servers for longer whether they answer as /openapi.json says; EXAMPLES=200 an operation
	TOMBOLO_EXAMPLES=$(or $(EXAMPLES),200) cargo test --locked -p tests --test application described -- --nocapture

dist: ## what is shipped: static x86-64 and aarch64 binaries with their units, in target/dist/
	.ci/dist

fixtures: ## what this version keeps and sends, as text for later versions' tests; before each release, VERSION=vX.Y.Z
	cargo run --quiet --locked -p tests --bin fixtures -- $(VERSION)

pictures: tools binaries ## the README's pictures of the till, taken anew
	@command -v pngquant >/dev/null || { echo "pngquant makes them small; on Debian: apt-get install pngquant fonts-inter"; exit 1; }
	cargo run --quiet --locked -p tests --bin pictures

fmt: ## formats everything
	cargo fmt --all

lint: ## formatting, clippy and rustdoc, with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# What the tests use beside the built programs: the guides' commands run in bash with curl, python3 and openssl, the till is driven in a
# Chromium, devices speak at a mosquitto, clocks jump by libfaketime, full disks are small ones that are mounted, for which the tests are
# run by root or by
# somebody who may use sudo, and
# schemathesis asks the servers whether they answer as they are described.
tools: packages target/schemathesis/installed target/thermostat/installed

packages:
	@missing=; PATH="$$PATH:/usr/sbin"; for tool in bash curl mount openssl setpriv:util-linux python3 chromium chromedriver:chromium-driver mosquitto mosquitto_pub:mosquitto-clients faketime; do \
	command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	test -z "$$missing" || { echo "installing$$missing"; sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }

target/schemathesis/installed: tests/schemathesis/requirements.txt | packages
	python3 -m venv --clear target/schemathesis
	target/schemathesis/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

target/thermostat/installed: docs/examples/thermostat/requirements.txt | packages
	python3 -m venv --clear target/thermostat
	target/thermostat/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# System tests and the demo start the built programs.
binaries:
	@command -v cc >/dev/null || { echo "a C compiler is needed for SQLite and ring; on Debian: apt-get install gcc libc6-dev"; exit 1; }
	cargo build --workspace --locked --bins
