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

# Waits until every process of the family is gone, or in state $1.
settle() {
    for pid in $family; do
        while look "$pid"; do
            case $state in '' | Z | X | "$1") break ;; esac
            sleep 0.01
        done
    done
}

# Stops the server and all its descendants. By their parents, not by the process group: each of
# Postgres's backends makes a group of its own. A parent is stopped before its children are looked
# for, so that it makes no more of them.
freeze() {
    family=$server
    kill -STOP $family 2>/dev/null
    settle T
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
        kill -STOP $family 2>/dev/null
        settle T
    done
}

thaw() {
    kill -CONT $family 2>/dev/null
}

# Whether the server runs. Its number may have become that of another's process.
alive() {
    look "$server"
    case $state in '' | Z | X) return 1 ;; esac
    [ "$parent" = $$ ]
}

# As if the machine had lost them all at once.
crash() {
    alive || return 0
    freeze
    kill -KILL $family 2>/dev/null
    wait "$server"
    settle gone
}

# The orderly end, by the signal $1.
finish() {
    alive || return 0
    freeze
    thaw
    kill -"$1" "$server" 2>/dev/null
    wait "$server"
    settle gone
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
