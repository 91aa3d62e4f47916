//! What would make a backup fail or be incomplete.
