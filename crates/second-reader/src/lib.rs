//! Nothing but tests: `rustic_core`, an independent implementation, reads what `basekeep-repository` writes.
