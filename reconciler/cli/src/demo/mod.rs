//! `mainstay demo`: the whole of Mainstay on this machine, in a folder of its own. Every step is
//! the real binary run as a person would type it; the proof at the end reads the data itself.

mod database;
mod files;
mod postgres;
mod shell;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::args::DemoArgs;
use crate::commands;
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::Ui;
use database::Writer;
use shell::Shell;

/// Marks a folder as the demo's, so that only such a folder is ever removed.
const MARK: &str = ".mainstay-demo";

/// Runs the demo.
pub fn run(args: &DemoArgs, ui: &Ui) -> Result<Exit, CliError> {
    let begun = Instant::now();
    let place = Place::make(&args.dir)?;
    let shell = place.shell(ui.clone())?;
    let mut demo = Demo { place, shell, ui: ui.clone(), addresses: vec![], postgres: None };
    demo.addresses = vec!["shop/uploads".into(), "shop/orders".into()];
    demo.ui.out("Mainstay shows itself, in the folder");
    demo.ui.out(format!("  {}", demo.place.top.display()));
    demo.prepare(args.postgres)?;
    let result = demo.story();
    if let Some(postgres) = demo.postgres.take() {
        postgres.stop();
    }
    result?;
    let took = human::seconds(begun.elapsed().as_secs());
    demo.farewell(&took);
    Ok(Exit::Success)
}

/// The folders of the demo.
struct Place {
    top: PathBuf,
}

impl Place {
    fn make(dir: &Path) -> Result<Self, CliError> {
        if dir.symlink_metadata().is_ok() {
            let empty = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
            if dir.join(MARK).is_file() {
                fs::remove_dir_all(dir)
                    .map_err(|e| CliError::new(format!("{}: {e}", dir.display())))?;
            } else if !empty {
                return Err(CliError::new(format!("{} exists and is not a demo", dir.display()))
                    .hint("give another folder with --dir"));
            }
        }
        fs::create_dir_all(dir)?;
        fs::write(dir.join(MARK), "Made by `mainstay demo`, which may remove this folder.\n")?;
        let top = dir.canonicalize()?;
        for name in ["config", "data", "secrets", "state"] {
            fs::create_dir(top.join(name))?;
        }
        Ok(Self { top })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    fn shell(&self, ui: Ui) -> Result<Shell, CliError> {
        let variables = [
            ("MAINSTAY_CONFIG", self.path("config")),
            ("MAINSTAY_STATE", self.path("state")),
            ("MAINSTAY_SECRETS", self.path("secrets")),
        ];
        let mut text = String::from("# Source this to type the demo's commands yourself.\n");
        for (name, path) in &variables {
            let quoted = path.display().to_string().replace('\'', "'\\''");
            text.push_str(&format!("export {name}='{quoted}'\n"));
        }
        fs::write(self.path("env.sh"), text)?;
        Shell::new(ui, &self.top, &variables)
    }
}

struct Demo {
    place: Place,
    shell: Shell,
    ui: Ui,
    addresses: Vec<String>,
    postgres: Option<postgres::Cluster>,
}

impl Demo {
    fn title(&self, text: &str) {
        self.ui.out(format!("\n== {text}"));
    }

    fn prepare(&mut self, with_postgres: bool) -> Result<(), CliError> {
        self.title("Some data worth keeping");
        let made = files::make(&self.place.path("data/uploads"))?;
        self.ui.out(format!("data/uploads: {made}"));
        database::make(&self.place.path("data/orders.db"))?;
        self.ui.out("data/orders.db: a SQLite database that is being written to");
        if with_postgres {
            let cluster = postgres::Cluster::start(&self.place.path("data/postgres"))?;
            self.ui.out(format!("data/postgres: {}", cluster.version));
            self.postgres = Some(cluster);
            self.addresses.push("shop/customers".into());
        }
        self.title("Policies in git (the files of examples/quickstart with these paths)");
        let config = self.place.path("config");
        commands::write_quickstart(&config)?;
        self.edit_paths(&config.join("mainstay.yaml"))?;
        let password = self.place.path("secrets/repository-password");
        shell::write_private(&password, b"a password only for this demo\n")?;
        if let Some(cluster) = &self.postgres {
            cluster.write_documents(&config)?;
        }
        self.shell.echo("cd config && git init && git add . && git commit -m 'protect the shop'");
        let commit = adapters::source::commit_all(&config, "protect the shop")?;
        self.ui.out(format!("commit {}", commit.short()));
        Ok(())
    }

    /// Changes the three paths, as a person would in an editor.
    fn edit_paths(&self, file: &Path) -> Result<(), CliError> {
        let mut text = fs::read_to_string(file)?;
        let edits = [
            ("/var/backups/mainstay", "backups"),
            ("/srv/shop/uploads", "data/uploads"),
            ("/srv/shop/orders.db", "data/orders.db"),
        ];
        for (from, to) in edits {
            if !text.contains(from) {
                return Err(CliError::internal(format!("the quickstart has no `{from}`")));
            }
            // Quoted, so that any folder's name is a YAML string.
            let to = serde_json::to_string(&self.place.path(to).display().to_string())
                .map_err(|e| CliError::internal(e.to_string()))?;
            text = text.replace(from, &to);
        }
        fs::write(file, text)?;
        Ok(())
    }

    fn story(&mut self) -> Result<(), CliError> {
        let orders = self.place.path("data/orders.db");
        let uploads = self.place.path("data/uploads");
        let writer = Writer::start(&orders)?;
        self.title("What would be done, and then do it");
        self.shell.run(&["validate"], 0)?;
        self.shell.run(&["plan"], 2)?;
        self.shell.run(&["apply"], 0)?;
        let earlier = self.place.path("data/orders-of-this-morning.db");
        database::copy(&orders, &earlier)?;
        if let Some(cluster) = &self.postgres {
            cluster.remember_old()?;
        }

        self.title("Life goes on, and a second backup");
        files::change(&uploads)?;
        writer.wait_for_more(200)?;
        if let Some(cluster) = &self.postgres {
            cluster.grow()?;
        }
        let least_rows = database::count(&orders)?;
        let mut words = vec!["backup"];
        words.extend(self.addresses.iter().map(String::as_str));
        self.shell.run(&words, 0)?;
        self.shell.run(&["snapshots"], 0)?;
        self.say_what_was_saved()?;
        let expected = files::manifest(&uploads)?;

        self.title("Disaster: the folder is destroyed, the database is put back in time");
        drop(writer);
        self.shell.echo("rm -rf data/uploads");
        fs::remove_dir_all(&uploads)?;
        self.shell.echo("cp data/orders-of-this-morning.db data/orders.db");
        database::put_back_in_time(&earlier, &orders)?;
        if let Some(cluster) = &self.postgres {
            self.shell.echo("psql -c 'drop database customers'");
            cluster.destroy()?;
        }

        self.title("Mainstay notices");
        self.shell.run(&["status"], 2)?;
        self.shell.run(&["plan"], 3)?;
        let digest = self.shell.destructive_digest()?;

        self.title("And brings it back; what lies over live data needs a person's yes");
        self.shell.run(&["apply", "--approve", &digest], 0)?;

        self.title("Proof, from the data itself");
        let compared = files::compare(&expected, &files::manifest(&uploads)?)?;
        self.ui.out(format!("data/uploads: {compared}"));
        let rows = database::prove(&orders, least_rows)?;
        self.ui.out(format!("data/orders.db: {rows}"));
        if let Some(cluster) = &self.postgres {
            self.ui.out(format!("data/postgres: {}", cluster.prove()?));
        }

        self.title("Keep what came back; the old data, put aside until now, goes");
        self.shell.run(&["commit", "shop/orders"], 0)?;
        self.shell.run(&["status"], 0)?;
        Ok(())
    }

    fn say_what_was_saved(&self) -> Result<(), CliError> {
        let (content, stored) = self.shell.sizes()?;
        self.ui.out(format!(
            "two backups hold {} of content in {} of storage: deduplicated, compressed, encrypted",
            human::bytes(content),
            human::bytes(stored)
        ));
        Ok(())
    }

    fn farewell(&self, took: &str) {
        let top = self.place.top.display();
        self.ui.out(format!("\nAll of it is back, in {took}. Look around in {top}, for example:"));
        for command in [
            ". ./env.sh",
            "mainstay history",
            "mainstay ls shop/uploads --long | head",
            "mainstay restore shop/uploads --to restored",
            "mainstay explain shop/orders",
            "mainstay daemon --listen none          # the same without a person; Ctrl-C ends it",
        ] {
            self.ui.out(format!("  {command}"));
        }
        self.ui.out("The repository is in restic's format; with restic installed:");
        self.ui.out("  restic -r backups -p secrets/repository-password snapshots");
        self.ui.out("To protect your own data: mainstay init my-policies");
    }
}
