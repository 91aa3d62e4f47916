# shellcheck shell=bash
# Many tiny tables (and one of 200 columns) into one new repository and back, beside pg_dump and pg_restore: what counts
# here are round trips and what each table costs by itself.

measure_many() {
    local repo=$work/repo
    createdb many
    sql many "$project/scripts/bench.d/many.sql" >/dev/null
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: many tables, round $round of $rounds" >&2
        rm -rf "$repo" "$work/dump"
        "$basekeep" init --repo "$repo" --quiet
        measure many_basekeep "$repo" "$basekeep" backup "$(conninfo many)" --repo "$repo" --quiet --no-progress
        measure many_basekeep_next "" "$basekeep" backup "$(conninfo many)" --repo "$repo" --quiet --no-progress
        measure many_pg_dump "$work/dump" "$zstd_dump" -Fd -j2 --compress=zstd:1 -f "$work/dump" many
        measure many_schema_only "" "$pg_bin/pg_dump" --schema-only -Fc -f "$work/many.dump" many
        createdb "restored_$round"
        measure many_restore "" "$basekeep" restore --to "$(conninfo "restored_$round")" --repo "$repo" --yes --quiet --no-progress
        dropdb "restored_$round" && createdb "restored_$round"
        # It complains about a setting that an older server does not know, ignores that, and ends with 1.
        measure many_pg_restore "" bash -c "'$(dirname "$zstd_dump")/pg_restore' -j2 -d 'restored_$round' '$work/dump' || [ \$? = 1 ]"
        dropdb "restored_$round"
    done
    dropdb many
    rm -rf "$repo" "$work/dump" "$work/many.dump"
}

report_many() {
    printf '\n## 10,000 tables with a few rows each, and one of 200 columns\n'
    table 'the fastest pg_dump'
    row '`basekeep backup`' many_basekeep many_pg_dump
    row '`basekeep backup` again, nothing changed' many_basekeep_next many_pg_dump
    row '`pg_dump -Fd -j2 --compress=zstd:1`' many_pg_dump many_pg_dump
    row '`pg_dump --schema-only -Fc`, which is part of each backup' many_schema_only many_pg_dump
    table pg_restore
    row '`basekeep restore`' many_restore many_pg_restore
    row '`pg_restore -j2` of the zstd directory' many_pg_restore many_pg_restore
    printf '\nThe server has `max_locks_per_transaction = 512`: pg_dump and basekeep lock every table.\n'
}
