//! `mainstay commit` and `mainstay rollback`.

use adapters::clock::System;
use model::ports::clock::Clock;
use operations::owner;
use operations::recovery::{End, end};

use super::{apply::observer, usage};
use crate::args::{EndArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::signals::cancel_on_signals;
use crate::ui::Ui;
use crate::wire::{hostname, wire};

pub async fn run(global: &Global, args: &EndArgs, which: End, ui: &Ui) -> Result<Exit, CliError> {
    let address = args.address.parse().map_err(usage)?;
    let wired = wire(global)?;
    let say = ui.clone();
    let cancel = cancel_on_signals(move |text| say.say(text));
    let command = if which == End::Commit { "commit" } else { "rollback" };
    let owner = owner(command, &hostname(), System.now());
    let (_, summary) = end(&wired.world, &owner, &address, which, &observer(ui), &cancel).await?;
    Ok(if summary.failed > 0 { Exit::Error } else { Exit::Success })
}
