-- 10,000 tables with a few rows each, as an application with a schema for each of its 200 customers has, and one of 200 columns.
SET max_parallel_workers_per_gather = 0;
SELECT setseed(0.42);
CREATE PROCEDURE make_tables() LANGUAGE plpgsql AS $$
BEGIN
    FOR customer IN 1..200 LOOP
        EXECUTE format('CREATE SCHEMA customer_%s', customer);
        FOR t IN 1..50 LOOP
            EXECUTE format('CREATE TABLE customer_%s.t_%s (id int PRIMARY KEY, name text NOT NULL, at timestamptz, amount numeric(12,2), data jsonb)', customer, t);
            EXECUTE format($q$INSERT INTO customer_%s.t_%s SELECT n, 'name ' || n || ' of %s', timestamptz '2025-01-01 00:00:00+00' + n * interval '1 hour',
                n * 1.25, jsonb_build_object('n', n, 't', %s) FROM generate_series(1, %s) AS n$q$, customer, t, customer, t, 1 + (customer + t) % 20);
        END LOOP;
        COMMIT;
    END LOOP;
    EXECUTE (SELECT 'CREATE TABLE wide (id int PRIMARY KEY, ' || string_agg(format('c%s %s', n, (ARRAY['int', 'text', 'timestamptz', 'numeric', 'boolean'])[1 + n % 5]), ', ') || ')'
        FROM generate_series(1, 199) AS n);
    EXECUTE (SELECT 'INSERT INTO wide SELECT r, ' || string_agg((ARRAY['r * ' || n, '''text '' || r', 'timestamptz ''2025-01-01 00:00:00+00'' + r * interval ''1 minute''', 'r * 0.5', 'r % 3 = 0'])[1 + n % 5], ', ') || ' FROM generate_series(1, 20000) AS r'
        FROM generate_series(1, 199) AS n);
END $$;
CALL make_tables();
DROP PROCEDURE make_tables;
VACUUM ANALYZE;
CHECKPOINT;
