//! Agent shell.
