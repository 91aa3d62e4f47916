-- A project of 25 small tables.
DO $$
BEGIN
    FOR t IN 1..25 LOOP
        EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, name text, at timestamptz DEFAULT now(), data jsonb)', t);
        EXECUTE format($q$INSERT INTO t%s SELECT n, 'name ' || n, timestamptz '2025-01-01 00:00:00+00', jsonb_build_object('n', n)
            FROM generate_series(1, 200) AS n$q$, t);
        EXECUTE format('CREATE INDEX ON t%s (name)', t);
    END LOOP;
END $$;
