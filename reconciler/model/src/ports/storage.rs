//! The port to where a repository's files lie.
