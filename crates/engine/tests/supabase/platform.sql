CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;
CREATE ROLE supabase_auth_admin;
CREATE ROLE app_reporting;
GRANT anon TO app_reporting;
-- As the hosted postgres: reads nearly everything, is no superuser.
CREATE ROLE operator LOGIN BYPASSRLS CREATEROLE IN ROLE pg_read_all_data;
-- Reads only what it is given.
CREATE ROLE limited LOGIN;

CREATE SCHEMA extensions;
CREATE EXTENSION pgcrypto SCHEMA extensions;
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, encrypted_password text, is_anonymous boolean NOT NULL DEFAULT false);
CREATE TABLE auth.identities (id uuid PRIMARY KEY, user_id uuid REFERENCES auth.users, provider text NOT NULL);
CREATE TABLE auth.schema_migrations (version varchar(255) PRIMARY KEY);
INSERT INTO auth.schema_migrations VALUES ('20240214120130'), ('20240427152123');
CREATE TABLE auth.one_time_tokens (id uuid PRIMARY KEY);
INSERT INTO auth.users VALUES
  ('00000000-0000-0000-0000-000000000001', 'a@x', extensions.crypt('geheim', extensions.gen_salt('bf', 4)), false),
  ('00000000-0000-0000-0000-000000000002', 'b@x', '$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$aGFzaA', false),
  ('00000000-0000-0000-0000-000000000003', 'c@x', '$fbscrypt$v=1,n=14,r=8,p=1$salt$hash', false),
  ('00000000-0000-0000-0000-000000000004', 'd@x', NULL, true);
INSERT INTO auth.identities SELECT id, id, CASE WHEN email = 'b@x' THEN 'github' ELSE 'email' END FROM auth.users WHERE NOT is_anonymous;

CREATE SCHEMA storage;
CREATE TABLE storage.buckets (id text PRIMARY KEY, allowed_mime_types text[]);
CREATE TABLE storage.objects (id uuid PRIMARY KEY, bucket_id text REFERENCES storage.buckets, name text, metadata jsonb, version text);
CREATE TABLE storage.migrations (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO storage.migrations VALUES (15, 'can-insert-object'), (16, 'add-version');
INSERT INTO storage.buckets VALUES ('avatars', NULL);
INSERT INTO storage.objects VALUES
  ('00000000-0000-0000-0000-00000000000a', 'avatars', 'a.png', '{"size": 120}', 'v1'),
  ('00000000-0000-0000-0000-00000000000b', 'avatars', 'b.png', '{"size": 30}', 'v1'),
  ('00000000-0000-0000-0000-00000000000c', 'avatars', 'c', '{"size": "?"}', 'v1');
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_avatars ON storage.objects TO authenticated USING (bucket_id = 'avatars');

CREATE SCHEMA supabase_migrations;
CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, name text);
INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000', 'first');

CREATE SCHEMA vault;
CREATE TABLE vault.secrets (id uuid PRIMARY KEY, name text, description text NOT NULL DEFAULT '', secret text NOT NULL,
  created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
CREATE VIEW vault.decrypted_secrets AS SELECT id, name, description, secret, reverse(secret) AS decrypted_secret, created_at, updated_at
  FROM vault.secrets;
INSERT INTO vault.secrets VALUES
  ('00000000-0000-0000-0000-0000000000aa', 'stripe', 'für "Zahlungen"', 'evil_ks', '2024-05-06 07:08:09+00', '2024-05-06 07:08:10+00'),
  ('00000000-0000-0000-0000-0000000000ab', NULL, '', 'cba', '2024-05-07 07:08:09+00', '2024-05-07 07:08:09+00');

CREATE SCHEMA cron;
CREATE TABLE cron.job (jobid bigint PRIMARY KEY, schedule text NOT NULL, command text NOT NULL, nodename text NOT NULL DEFAULT 'localhost',
  nodeport int NOT NULL DEFAULT 5432, database text NOT NULL DEFAULT current_database(), username text NOT NULL DEFAULT 'postgres',
  active boolean NOT NULL DEFAULT true, jobname text);
INSERT INTO cron.job (jobid, schedule, command, jobname) VALUES (3, '30 seconds', 'SELECT 1', NULL), (1, '0 3 * * *', $$DELETE FROM public.notes$$, 'nightly');

-- pgmq makes its tables members of the extension; another one stands in for it.
CREATE SCHEMA pgmq;
CREATE TABLE pgmq.meta (queue_name varchar UNIQUE NOT NULL, is_partitioned boolean NOT NULL, is_unlogged boolean NOT NULL, created_at timestamptz NOT NULL DEFAULT '2024-01-01 00:00:00+00');
CREATE TABLE pgmq.q_mails (msg_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message jsonb);
CREATE TABLE pgmq.a_mails (msg_id bigint PRIMARY KEY, message jsonb);
INSERT INTO pgmq.meta VALUES ('Mails', false, false);
INSERT INTO pgmq.q_mails (message) SELECT jsonb_build_object('to', n) FROM generate_series(1, 5) n;
DELETE FROM pgmq.q_mails WHERE msg_id = 5;
INSERT INTO pgmq.a_mails VALUES (5, '{"to": 5}');
ALTER EXTENSION plpgsql ADD TABLE pgmq.q_mails;

CREATE SCHEMA supabase_functions;
CREATE FUNCTION supabase_functions.http_request() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';

CREATE TABLE public.notes (id int PRIMARY KEY, body text, sealed bytea DEFAULT extensions.pgp_sym_encrypt('x', 'k'));
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE TABLE public.plain (id int PRIMARY KEY);
CREATE POLICY read_all ON public.notes FOR SELECT TO anon USING (true);
GRANT SELECT ON public.notes TO anon;
GRANT SELECT, INSERT ON public.notes TO authenticated WITH GRANT OPTION;
GRANT UPDATE (body) ON public.notes TO authenticated;
CREATE FUNCTION public.seal(text) RETURNS bytea LANGUAGE sql AS $$ SELECT extensions.pgp_sym_encrypt($1, 'key') $$;
CREATE FUNCTION public.new_user() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER on_user AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION public.new_user();
CREATE TRIGGER hook AFTER INSERT ON public.notes FOR EACH ROW EXECUTE FUNCTION supabase_functions.http_request('http://x', 'POST', '{}', '{}', '1000');
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.watch();
ALTER EVENT TRIGGER watch DISABLE;
CREATE PUBLICATION supabase_realtime FOR TABLE public.notes;
INSERT INTO public.notes VALUES (1, 'hello');

REVOKE ALL ON auth.schema_migrations FROM PUBLIC;
GRANT USAGE ON SCHEMA auth, storage, vault, cron, pgmq, supabase_migrations TO limited;
GRANT SELECT ON public.plain, storage.buckets TO limited;
