# What tests/run and .ci/run share: how they speak, where they build, how they fetch.
# Whoever reads this in has set `self` to the name by which a person called it.
# shellcheck shell=bash disable=SC2154

cache="${XDG_CACHE_HOME:-$HOME/.cache}/mainstay-tests"

say() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }

# Ends the run; the first line names what is missing, the rest say what can be done about it.
die() {
    printf '\n%s: FAILED: %s\n' "$self" "$1" >&2
    shift
    local line
    for line in "$@"; do note "$line"; done
    exit 1
}

have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# Runs a command that has much to say; what it said is shown if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || cat "$log" >&2
    rm -f "$log"
    return "$status"
}

# Seconds as a person says them.
duration() {
    if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}

# At least: version $1 is $2 or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

need_rust() {
    have cargo || die "cargo is not installed" "Get Rust from https://rustup.rs and run this again."
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(cargo --version | cut -d ' ' -f 2)
    at_least "$found" "$wanted" ||
        die "Rust $found is too old, $wanted is needed" "Run: rustup update"
}

# Puts the program $1 of the crate $1 in version $2 on PATH, built once into the cache.
need_cargo_tool() {
    local name=$1 version=$2 folder="$cache/$1-$2"
    if [ ! -x "$folder/bin/$name" ]; then
        say "Building $name $version into $folder (once, some minutes)"
        # Unoptimised: it reads one workspace, and builds in a third of the time.
        quietly env CARGO_TARGET_DIR="$cache/build" cargo install --locked --debug \
            --root "$folder" "$name@$version" || {
            note "$name $version could not be built. It comes from crates.io: is it reachable?"
            return 1
        }
        rm -rf "$cache/build"
    fi
    PATH="$folder/bin:$PATH"
}
