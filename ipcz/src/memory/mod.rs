//! Link memory.
