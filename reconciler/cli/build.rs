//! Embeds `templates/`, `policies/` and `examples/quickstart/` into the binary, so that it works
//! with nothing beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let top = here.join("../..");
    let mut code = String::from("/// Built-in templates and policies.\n");
    embed(&mut code, "BUILTIN", &top, &["templates", "policies"], &top)?;
    code.push_str("/// The files of the quickstart example.\n");
    embed(
        &mut code,
        "QUICKSTART",
        &top,
        &["examples/quickstart"],
        &top.join("examples/quickstart"),
    )?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("builtin.rs"), code)
}

fn embed(
    code: &mut String,
    name: &str,
    top: &Path,
    folders: &[&str],
    base: &Path,
) -> io::Result<()> {
    let mut files = Vec::new();
    for folder in folders {
        let folder = top.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        if folder.is_dir() {
            walk(&folder, &mut files)?;
        }
    }
    files.sort();
    let _ = writeln!(code, "pub const {name}: &[(&str, &str)] = &[");
    for file in files {
        let path = file.strip_prefix(base).map_err(io::Error::other)?;
        let absolute = file.canonicalize()?;
        let _ = writeln!(code, "    ({:?}, include_str!({:?})),", path, absolute);
    }
    code.push_str("];\n");
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
