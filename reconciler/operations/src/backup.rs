//! `backup ADDRESS`: asks for a backup now, without editing git. It is served like a trigger, by
//! the daemon or by an `apply` that follows.

use model::digest::Digest;
use model::error::PortError;
use model::id::Address;
use model::observed::BackupRequest;
use runtime::World;
use runtime::memory::{self, kind};

/// Asks; returns the token that the receipt will carry.
pub async fn request(world: &World, address: &Address) -> Result<String, PortError> {
    let now = world.clock.now();
    let id = Digest::of("request", &(address, now, std::process::id()));
    let token = format!("now-{}", id.short());
    let request = BackupRequest { address: address.clone(), token: token.clone() };
    world.state.write(&[memory::set(kind::REQUEST, token.clone(), &request)?]).await?;
    Ok(token)
}

/// Takes a request back that was not served.
pub async fn withdraw(world: &World, token: &str) -> Result<(), PortError> {
    world.state.write(&[memory::unset(kind::REQUEST, token)]).await
}
