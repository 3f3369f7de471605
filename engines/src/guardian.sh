# Guards one server. The process that wants it writes commands to the standard input, a line each,
# and gets the exit status of each back, a line each. When that pipe closes, and it does however
# the process ends, the server is killed and its folder removed.

set -u
# Only the pipe ends the guardian: a terminal's Ctrl-C would leave the server behind.
trap '' HUP INT TERM PIPE

folder=$(mktemp -d "${TMPDIR:-/tmp}/ploy-engines-XXXXXX") || exit
cd "$folder" || exit
folder=$(pwd -P)
exec 2>>"$folder/log"
server= family=

# Reads what /proc says of process $1: its state (none when it is gone) and its parent.
look() {
    state= parent=
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    # The name before may hold anything, spaces and brackets too.
    line=${line##*) }
    state=${line%% *}
    line=${line#* }
    parent=${line%% *}
}

# Sends signal $1 to the family until each process of it is in state $2, or gone. More than once,
# since the end of the test's process has the kernel let the stopped processes go on.
bring() {
    kill -"$1" $family 2>/dev/null
    for pid in $family; do
        while look "$pid"; do
            case $state in '' | Z | X | "$2") break ;; esac
            sleep 0.01
            kill -"$1" "$pid" 2>/dev/null
        done
    done
}

# Stops the server and all its descendants. By their parents, not by the process group: each of
# Postgres's backends makes a group of its own. A parent is stopped before its children are looked
# for, so that it makes no more of them.
freeze() {
    family=$server
    bring STOP T
    grown=yes
    while [ "$grown" ]; do
        grown=
        for entry in /proc/[0-9]*; do
            pid=${entry#/proc/}
            case " $family " in *" $pid "*) continue ;; esac
            look "$pid"
            case $state in '' | Z | X) continue ;; esac
            case " $family " in *" $parent "*) ;; *) continue ;; esac
            family="$family $pid"
            grown=yes
        done
        bring STOP T
    done
}

# Lets those go on that were stopped last.
thaw() {
    kill -CONT $family 2>/dev/null
}

# Whether the server runs. Its number may have become that of another's process.
alive() {
    look "$server"
    case $state in '' | Z | X) return 1 ;; esac
    [ "$parent" = $$ ]
}

# Whether it runs, and is not frozen.
running() {
    alive && [ "$state" != T ]
}

# As if the machine had lost them all at once.
crash() {
    alive || return 0
    freeze
    bring KILL gone
    wait "$server"
}

# The orderly end, by the signal $1. A server waits for its own children.
finish() {
    alive || return 0
    freeze
    thaw
    kill -"$1" "$server" 2>/dev/null
    wait "$server"
}

# Runs a command to its end.
run() {
    "$@" </dev/null >>"$folder/log" 2>&1
}

# Starts the server.
launch() {
    "$@" </dev/null >>"$folder/log" 2>&1 &
    server=$!
}

echo "$folder"
while IFS= read -r command; do
    eval "$command"
    echo $?
done
crash
cd / && rm -rf "$folder"
