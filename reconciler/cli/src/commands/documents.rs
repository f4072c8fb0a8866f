//! `mainstay schema`, `templates`, `completions`, `version`, and the tools that templates call.

use clap::CommandFactory;
use serde::Serialize;

use crate::args::{Args, CompletionsArgs, SchemaArgs, TemplatesArgs, TemplatesCommand, ToolArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire::builtin;

pub fn schema(args: &SchemaArgs, ui: &Ui) -> Result<Exit, CliError> {
    let Some(kind) = &args.kind else {
        for kind in config::Kind::ALL {
            ui.out(kind.as_str());
        }
        return Ok(Exit::Success);
    };
    let kind = config::Kind::parse(kind).ok_or_else(|| {
        CliError::new(format!("no kind `{kind}`")).hint("`mainstay schema` lists them")
    })?;
    ui.json(config::schema(kind))?;
    Ok(Exit::Success)
}

#[derive(Serialize)]
struct Listed {
    name: String,
    path: String,
    about: String,
}

pub fn templates(args: &TemplatesArgs, ui: &Ui) -> Result<Exit, CliError> {
    let files = builtin();
    match &args.command {
        TemplatesCommand::List => {
            let listed: Vec<Listed> = files
                .iter()
                .map(|(path, text)| Listed {
                    name: name_of(path).to_owned(),
                    path: path.clone(),
                    about: about(&String::from_utf8_lossy(text)),
                })
                .collect();
            if ui.is_json() {
                ui.json(&listed)?;
                return Ok(Exit::Success);
            }
            let rows: Vec<Vec<String>> =
                listed.into_iter().map(|l| vec![l.name, l.path, l.about]).collect();
            ui.raw(&crate::ui::table(&["NAME", "FILE", "ABOUT"], &rows));
            Ok(Exit::Success)
        }
        TemplatesCommand::Show { name } => {
            let found = files.iter().find(|(path, _)| name_of(path) == name || *path == name);
            let (_, text) = found.ok_or_else(|| {
                CliError::new(format!("no built-in document `{name}`"))
                    .hint("`mainstay templates list` names them")
            })?;
            ui.raw(&String::from_utf8_lossy(text));
            Ok(Exit::Success)
        }
    }
}

fn name_of(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".yaml").unwrap_or(file)
}

/// Returns the first comment line of a document: its one-sentence description.
fn about(text: &str) -> String {
    let first = text.lines().find_map(|line| line.strip_prefix("# "));
    first.unwrap_or_default().to_owned()
}

pub fn completions(args: &CompletionsArgs) -> Exit {
    clap_complete::generate(
        args.shell,
        &mut Args::command(),
        "mainstay",
        &mut std::io::stdout().lock(),
    );
    Exit::Success
}

pub fn version(ui: &Ui) -> Result<Exit, CliError> {
    if ui.is_json() {
        ui.json(&serde_json::json!({ "name": "mainstay", "version": model::VERSION }))?;
    } else {
        ui.out(format!("mainstay {}", model::VERSION));
    }
    Ok(Exit::Success)
}

pub fn tool(args: ToolArgs) -> Result<Exit, CliError> {
    let code = adapters::tools::run(
        &args.rest,
        &mut std::io::stdin().lock(),
        &mut std::io::stdout().lock(),
        &mut std::io::stderr().lock(),
    );
    Ok(Exit::from_code(code))
}
