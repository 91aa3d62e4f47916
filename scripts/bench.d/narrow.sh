# shellcheck shell=bash
# A table of 50 million narrow rows: what counts here is what each row costs.

measure_narrow() {
    local repo=$work/repo
    createdb narrow
    psql -X -q -v ON_ERROR_STOP=1 -d narrow <<'SQL'
CREATE TABLE narrow AS SELECT n::int AS id, (n % 1000)::smallint AS kind FROM generate_series(1, 50000000) AS n;
VACUUM ANALYZE narrow;
CHECKPOINT;
SQL
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: narrow rows, round $round of $rounds" >&2
        rm -rf "$repo" "$work/dump"
        "$basekeep" init --repo "$repo" --quiet
        measure narrow_basekeep "$repo" "$basekeep" backup "$(conninfo narrow)" --repo "$repo" --quiet --no-progress
        measure narrow_pg_dump "$work/dump" "$zstd_dump" -Fd -j2 --compress=zstd:1 -f "$work/dump" narrow
        measure narrow_basekeep_next "" "$basekeep" backup "$(conninfo narrow)" --repo "$repo" --quiet --no-progress
    done
    dropdb narrow
    rm -rf "$repo" "$work/dump"
}

report_narrow() {
    printf '\n## A table of 50 million narrow rows\n'
    table 'the fastest pg_dump'
    row '`basekeep backup`' narrow_basekeep narrow_pg_dump
    row '`pg_dump -Fd -j2 --compress=zstd:1`' narrow_pg_dump narrow_pg_dump
    row '`basekeep backup` again, nothing changed' narrow_basekeep_next narrow_pg_dump
    printf '\nTwo columns, 10 bytes of COPY text for each row: pg_dump reads it on one connection, basekeep in ranges on several.\n'
}
