//! `mainstay graph`.

use std::sync::Arc;

use adapters::secrets::Chain;
use model::ports::source::Source;

use crate::args::{Global, GraphArgs, Notation};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire;

pub async fn run(global: &Global, args: &GraphArgs, ui: &Ui) -> Result<Exit, CliError> {
    let secrets = Arc::new(Chain::new().with_environment(std::env::vars_os()));
    let source = wire::source(global, &wire::state_folder(global)?, secrets)?;
    let tree = source.fetch().await?;
    let loaded = config::load(&tree.files, &wire::builtin(), tree.commit.clone());
    let Some(desired) = loaded.desired else {
        return Err(CliError {
            diagnostics: Some((loaded.diagnostics, Box::new(tree))),
            ..CliError::new("the configuration is not valid")
        });
    };
    let graph = plan::graph::Graph::new(&desired);
    ui.raw(&match args.notation {
        Notation::Text => graph.to_text(),
        Notation::Dot => graph.to_dot(),
        Notation::Mermaid => graph.to_mermaid(),
    });
    Ok(Exit::Success)
}
