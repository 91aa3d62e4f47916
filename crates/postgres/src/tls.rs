//! TLS as libpq's `sslmode` asks for it, with rustls.
