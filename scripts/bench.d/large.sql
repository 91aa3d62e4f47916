-- About 1.5 GB of COPY text; `events` holds two thirds of it. Deterministic.
SELECT setseed(0.42);
CREATE TABLE events (
    id bigint PRIMARY KEY,
    tenant uuid NOT NULL,
    happened_at timestamptz NOT NULL,
    recorded_at timestamp NOT NULL,
    amount numeric(14,4),
    kind text NOT NULL,
    payload jsonb NOT NULL
);
INSERT INTO events
SELECT n,
       md5('tenant' || n % 5000)::uuid,
       timestamptz '2024-01-01 00:00:00+00' + n * interval '13.377 seconds',
       timestamp '2024-01-01' + n * interval '13.5 seconds',
       (random() * 1000000)::numeric(14,4),
       (ARRAY['created','updated','shipped','cancelled','paid'])[1 + n % 5],
       jsonb_build_object(
           'order', md5(n::text), 'customer', n % 100000, 'tags', jsonb_build_array('a' || n % 7, 'b' || n % 11),
           'note', repeat(md5((n * 7)::text), 2 + n % 4), 'price', round((random() * 100)::numeric, 2),
           'address', jsonb_build_object('street', 'Main Street ' || n % 900, 'city', 'City ' || n % 3000, 'zip', n % 99999))
FROM generate_series(1, 2350000) AS n;
CREATE INDEX events_tenant ON events (tenant, happened_at);

DO $$
BEGIN
    FOR t IN 1..24 LOOP
        EXECUTE format('CREATE TABLE part_%s (id int PRIMARY KEY, ref uuid, at timestamptz, value numeric, note text, data jsonb)', t);
        EXECUTE format($q$INSERT INTO part_%s SELECT n, md5(n::text || %s)::uuid, timestamptz '2025-01-01 00:00:00+00' + n * interval '1 second',
            (random() * 1000)::numeric(10,3), 'note ' || md5(random()::text), jsonb_build_object('k', n, 'v', md5((n * %s)::text))
            FROM generate_series(1, 110000) AS n$q$, t, t, t);
    END LOOP;
END $$;
VACUUM ANALYZE;
CHECKPOINT;
