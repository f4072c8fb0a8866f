//! What runs beside the data: walk, stat, chunk and hash; on restore write, sync and read again.
//!
//! Must not contain: repository format and keys, policy, credentials, network.
