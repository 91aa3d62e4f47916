//! The settings of every session that reads or writes rows.

/// The session settings under which equal values give equal COPY text on any server, and under which nothing is filtered
/// or cut off by settings of the role. `jit` is off because compiling the catalog queries takes longer than they do (0.6 s
/// on an empty database). One SQL text; leaves `client_encoding` alone. Settings that a server's version
/// does not know are skipped (`transaction_timeout` since 17, `idle_session_timeout` since 14).
pub const SESSION_PINNING: &str = "\
SET DateStyle = ISO; \
SET IntervalStyle = postgres; \
SET TimeZone = 'UTC'; \
SET extra_float_digits = 3; \
SET bytea_output = hex; \
SET xmloption = content; \
SET search_path = ''; \
SET row_security = off; \
SET synchronize_seqscans = off; \
SET standard_conforming_strings = on; \
SET jit = off; \
SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ANY \
('{statement_timeout,lock_timeout,idle_in_transaction_session_timeout,transaction_timeout,idle_session_timeout}'); ";
