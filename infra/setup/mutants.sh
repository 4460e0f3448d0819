#!/bin/sh
# Changes the rules of the shop (`domain`) a little, one change at a time and in a copy of this folder, and expects a
# test of `domain` to fail each time. A change that no test notices is printed and fails this script; the list of all is
# under target/mutants.out. What can't be noticed stands with its reason in .cargo/mutants.toml. Takes some hours; an
# argument limits it: infra/setup/mutants.sh -f 'domain/src/inventory/*.rs'
set -eu
cd "$(dirname "$0")/../.."

VERSION=27.1.0
TOOLS=$PWD/target/tools

if ! "$TOOLS/bin/cargo-mutants" mutants --version 2>/dev/null | grep -qxF "cargo-mutants $VERSION"; then
    echo "Installing cargo-mutants $VERSION from crates.io into target/tools" >&2
    cargo install cargo-mutants --version "$VERSION" --locked --root "$TOOLS" >&2
fi
# A test that fails need not look for the smallest case that does; nobody debugs these builds.
export PROPTEST_MAX_SHRINK_ITERS=0 CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=1
exec "$TOOLS/bin/cargo-mutants" mutants --package domain --jobs 1 --no-shuffle --output target "$@"
