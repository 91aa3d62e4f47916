# shellcheck shell=bash
# A snapshot as files, beside what reads the server for the same files. Rates are in COPY text, whatever the form.

export_forms="sql schema archive json csv parquet"

measure_export() {
    local repo=$work/export-repo form
    rm -rf "$repo"
    "$basekeep" init --repo "$repo" --quiet
    "$basekeep" backup "$(conninfo bench)" --repo "$repo" --quiet --no-progress
    export_bytes=$("$basekeep" list --repo "$repo" --json | grep -o '"bytes":[0-9]*' | tail -n 1 | cut -d: -f2)
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: export, round $round of $rounds" >&2
        for form in $export_forms; do
            rm -rf "$work/out"
            measure "export_$form" "$work/out" "$basekeep" export -o "$work/out" --format "$form" --repo "$repo" --quiet --no-progress
        done
        rm -rf "$work/out" && mkdir "$work/out"
        measure export_pg_dump "$work/out" "$pg_bin/pg_dump" -Fp -f "$work/out/plain.sql" bench
        rm -rf "$work/out" && mkdir "$work/out"
        psql -X -At -d bench -c "SELECT format('\copy %I TO ''%s/%s.csv'' CSV HEADER', relname, '$work/out', relname)
            FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace" >"$work/copy.sql"
        measure export_copy "$work/out" psql -X -q -d bench -f "$work/copy.sql"
    done
    rm -rf "$repo" "$work/out"
}

# rate LABEL NAME: wall, CPU, peak memory, size, and COPY text in MB/s.
rate() {
    awk -v label="$1" -v wall="$(median "$2" 1)" -v cpu="$(median "$2" 2)" -v peak="$(median "$2" 3)" -v size="$(median "$2" 4)" -v bytes="$export_bytes" \
        'BEGIN { printf "| %s | %.2f | %.2f | %.0f | %.0f | %.0f |\n", label, wall, cpu, peak / 1024, size / 1048576, bytes / 1e6 / wall }'
}

report_export() {
    local form
    printf '\n## Export\n'
    printf '\n| program | wall | CPU | peak memory | size | MB/s of COPY text |\n| --- | ---: | ---: | ---: | ---: | ---: |\n'
    for form in $export_forms; do
        [ "$form" = schema ] || rate "\`basekeep export --format $form\`" "export_$form"
    done
    rate '`pg_dump -Fp`' export_pg_dump
    rate '`psql \copy … CSV HEADER`, every table' export_copy
    printf '\nThe server does most of the work of pg_dump and psql, and its CPU time is not counted; basekeep decrypts, decompresses and\n'
    printf 'verifies, and needs no server. The schema alone takes %s s.\n' "$(median export_schema 1)"
}
