//! `mainstay graph`.

use crate::args::{Global, GraphArgs, Notation};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire;

pub async fn run(global: &Global, args: &GraphArgs, ui: &Ui) -> Result<Exit, CliError> {
    let (desired, _) = wire::configuration(global).await?;
    let graph = plan::graph::Graph::new(&desired);
    ui.raw(&match args.notation {
        Notation::Text => graph.to_text(),
        Notation::Dot => graph.to_dot(),
        Notation::Mermaid => graph.to_mermaid(),
    });
    Ok(Exit::Success)
}
