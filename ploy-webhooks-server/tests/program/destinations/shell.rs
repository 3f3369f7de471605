//! Destinations from the shell.
