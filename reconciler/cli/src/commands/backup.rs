//! `mainstay backup`: asks for backups now, then applies just those resources.

use operations::ApplyRequest;
use operations::backup;

use super::{addresses, apply::apply_request};
use crate::args::{BackupArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire::wire;

pub async fn run(global: &Global, args: &BackupArgs, ui: &Ui) -> Result<Exit, CliError> {
    let only = addresses(&args.addresses)?;
    let wired = wire(global)?;
    // A daemon may serve a request as soon as it is written.
    let since = Some(wired.world.state.journal_end().await?);
    for address in &only {
        backup::request(&wired.world, address).await?;
    }
    let request = ApplyRequest { only, since, ..ApplyRequest::default() };
    apply_request(global, &request, true, ui).await
}
