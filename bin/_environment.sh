# The project's own Python environment, `.venv`: made on first use, checked on every later one.
#
# Sourced by run-node, shoal and test; not a script of its own.  Begin at `ensure_environment`.
# The check forks nothing, because `shoal` must start at once.  What it relies on, all inside .venv:
#   shoal-stamp       the extras that are installed, then a copy of setup.cfg: equal means up to date
#   shoal-unfinished  present while an install runs; found later, that install was killed half-way
#   shoal-install.log what pip said last
# Nothing here writes once the environment is ready, so a read-only checkout works.

exit_unavailable=69  # EX_UNAVAILABLE: the environment cannot be made now
exit_config=78       # EX_CONFIG: this machine lacks something

venv=$root/.venv
stamp_file=$venv/shoal-stamp
unfinished=$venv/shoal-unfinished
install_log=$venv/shoal-install.log

say() { printf 'shoal: %s\n' "$*" >&2; }

die() {
    local code=$1
    shift
    say "$@"
    exit "$code"
}

# read_text FILE VARIABLE: the whole file, without a fork; empty when it cannot be read.
read_text() {
    local -n into=$2
    into=''
    [[ -r $1 ]] && IFS= read -rd '' into <"$1"
    return 0
}

# environment_is_ready EXTRAS: 0 when .venv holds what setup.cfg asks for, the named extras included.
environment_is_ready() {
    local stamp config extra
    [[ -x $venv/bin/python && -e $root/.links/shoal/setup.cfg && ! -e $unfinished ]] || return 1
    read_text "$stamp_file" stamp
    read_text "$root/setup.cfg" config
    [[ -n $config && ${stamp#*$'\n'} == "$config" ]] || return 1
    for extra in $1; do
        [[ " ${stamp%%$'\n'*} " == *" $extra "* ]] || return 1
    done
}

# choose_python: sets `python` to a Python >= 3.11 that really runs.  A name on PATH proves nothing: version
# managers leave shims for versions that are not there.  The link-free path of the interpreter is taken, so that
# an upgrade of the system's Python leaves a dangling link behind, which the check above sees.
choose_python() {
    local candidate probe='import os, sys; assert sys.version_info >= (3, 11); print(os.path.realpath(sys.executable))'
    local candidates=(python3.13 python3.12 python3.11 python3)
    [[ -z ${SHOAL_PYTHON:-} ]] || candidates=("$SHOAL_PYTHON")
    for candidate in "${candidates[@]}"; do
        if python=$("$candidate" -I -c "$probe" 2>/dev/null) && [[ -n $python ]]; then
            return 0
        fi
    done
    [[ -z ${SHOAL_PYTHON:-} ]] || die $exit_config "SHOAL_PYTHON=$SHOAL_PYTHON is not a Python 3.11 or later"
    die $exit_config "no Python 3.11 or later found on PATH; install one, or name it in SHOAL_PYTHON"
}

# apt_install PACKAGE...: 1 when this is not Debian or not root, or apt fails.
apt_install() {
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null || return 1
    say "installing Debian packages: $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" </dev/null >&2 ||
        { apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" </dev/null >&2; }
}

# Debian ships Python without the modules that make an environment.
ensure_venv_module() {
    "$python" -I -c 'import ensurepip, venv' 2>/dev/null && return 0
    local package
    package=$("$python" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    apt_install "$package" >&2 || die $exit_config "$python has no venv module; install it: apt-get install $package"
}

new_venv() {
    rm -rf "$venv"
    mkdir "$venv" && : >"$unfinished" || die $exit_unavailable "cannot write in $root"
    "$python" -I -m venv "$venv" >&2 || die $exit_unavailable "$python could not make $venv (see above)"
}

# install EXTRAS: pip decides what is missing.  When pip gives up before it has touched a package (no network, a
# version that does not exist), what was there is still whole and is kept.
install() {
    local spec=. status=0
    [[ -z $1 ]] || spec=".[${1// /,}]"
    : >"$unfinished" || die $exit_unavailable "cannot write in $venv"
    (cd "$root" && exec "$venv/bin/python" -I -m pip install --no-input --no-user --disable-pip-version-check \
        --progress-bar off --editable "$spec") </dev/null >"$install_log" 2>&1 || status=$?
    if [[ $status != 0 ]]; then
        ((status > 128)) || grep -q '^Installing collected packages' "$install_log" || rm -f "$unfinished"
        grep -v '^Requirement already satisfied' "$install_log" | tail -n 25 >&2
        die $exit_unavailable "pip could not install shoal's dependencies (its last lines are above, all of it in" \
            "$install_log); check the network and run this again"
    fi
    { printf '%s\n' "$1" && cat "$root/setup.cfg"; } >"$stamp_file.new" && mv "$stamp_file.new" "$stamp_file" &&
        rm -f "$unfinished" || die $exit_unavailable "cannot write in $venv"
}

# make_environment EXTRAS: one maker at a time; whoever waited finds the work done.
make_environment() {
    local extras=$1 extra stamp python
    command -v flock >/dev/null || die $exit_config "flock is missing; install util-linux"
    exec 9>"$root/.venv.lock" || die $exit_unavailable "cannot write in $root"
    flock --nonblock 9 || { say "another process is making .venv: waiting for it" && flock 9; }
    mkdir -p "$root/.links" && ln -sfn .. "$root/.links/shoal" || die $exit_unavailable "cannot write in $root"
    if ! environment_is_ready "$extras"; then
        if [[ -e $unfinished ]] || ! "$venv/bin/python" -I -m pip --version >/dev/null 2>&1; then
            choose_python
            ensure_venv_module
            say "making .venv with $python: this takes a minute or two, once"
            new_venv
        else
            say "setup.cfg has changed, or more is needed than is installed: updating .venv"
            read_text "$stamp_file" stamp
            for extra in ${stamp%%$'\n'*}; do  # what one script needed, another must not take away
                [[ " $extras " == *" $extra "* ]] || extras="$extras $extra"
            done
        fi
        install "${extras# }"
    fi
    exec 9>&-
}

# ensure_environment [EXTRAS]: returns with .venv ready and the names `python` runs under exported, or exits.
ensure_environment() {
    environment_is_ready "${1:-}" || make_environment "${1:-}"
    unset PYTHONHOME
    export PYTHONPATH=$root/.links  # `shoal` is this folder, under one name for Python, pytest and mypy alike
}
