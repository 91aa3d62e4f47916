# shellcheck shell=bash
# What the parts of scripts/bench share: a server, measuring, medians, rows of tables. Expects $work, $port, $pg_bin, $rounds.

as_server=()
[ "$(id -u)" != 0 ] || as_server=(setpriv --reuid=postgres --regid=postgres --init-groups --)

start_server() {
    if [ "$(id -u)" = 0 ]; then
        chmod 755 "$work"
        install -d -o postgres "$work/data" "$work/socket"
    else
        mkdir "$work/data" "$work/socket"
    fi
    cd "$work" || return
    "${as_server[@]}" "$pg_bin/initdb" -D "$work/data" -U postgres --auth=trust -E UTF8 --locale=C.UTF-8 >/dev/null
    cat >>"$work/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work/socket'
port = $port
shared_buffers = 1GB
max_wal_size = 8GB
autovacuum = off
fsync = off
max_locks_per_transaction = 512
CONF
    "${as_server[@]}" "$pg_bin/pg_ctl" -D "$work/data" -l "$work/data/log" -w start >/dev/null
    unset "${!PG@}" 2>/dev/null || true
    export PGHOST=$work/socket PGPORT=$port PGUSER=postgres
}

stop_server() {
    "${as_server[@]}" "$pg_bin/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 || true
}

sql() { psql -X -q -v ON_ERROR_STOP=1 -d "$1" -f "$2"; }
conninfo() { printf 'postgresql://postgres@/%s?host=%s&port=%s' "$1" "$work/socket" "$port"; }

# measure NAME SIZE_OF COMMAND…: appends "wall user+system peak_KiB size_bytes" to the results of NAME.
measure() {
    local name=$1 output=$2
    shift 2
    sync
    /usr/bin/time -o "$work/time" -f '%e %U %S %M' "$@" >"$work/stdout" 2>"$work/stderr" || {
        cat "$work/stderr" >&2
        echo "bench: $name failed" >&2
        exit 1
    }
    local size=0
    [ -z "$output" ] || size=$(du -sb "$output" | cut -f1)
    # The last line, after what GNU time says of a command that ended with an error.
    tail -n 1 "$work/time" | awk -v size="$size" '{ print $1, $2 + $3, $4, size }' >>"$work/result.$name"
    printf 'bench: %-28s %s\n' "$name" "$(tail -n1 "$work/result.$name")" >&2
}

median() { # median NAME COLUMN
    awk -v c="$2" '{ print $c }' "$work/result.$1" | sort -g |
        awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# row LABEL NAME REFERENCE: wall, CPU, peak memory, size, and the ratio to the reference's wall time.
row() {
    local wall reference
    wall=$(median "$2" 1)
    reference=$(median "$3" 1)
    awk -v label="$1" -v wall="$wall" -v cpu="$(median "$2" 2)" -v peak="$(median "$2" 3)" -v size="$(median "$2" 4)" -v reference="$reference" \
        'BEGIN { printf "| %s | %.2f | %.2f | %.0f | %s | %.2f × |\n", label, wall, cpu, peak / 1024, (size > 0) ? sprintf("%.0f", size / 1048576) : "", wall / reference }'
}

# table REFERENCE_NAME: the head of a table of such rows.
table() {
    printf '\n| program | wall | CPU | peak memory | size | against %s |\n| --- | ---: | ---: | ---: | ---: | ---: |\n' "$1"
}
