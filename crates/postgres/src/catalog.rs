//! The tables, sequences and other objects of a database.
