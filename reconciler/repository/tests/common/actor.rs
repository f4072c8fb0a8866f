//! The engine's operations as processes that can be stopped and killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The program `examples/actor.rs`, which lies beside this test's own folder.
pub fn program() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let built = me.parent().and_then(Path::parent).unwrap().join("examples/actor");
    assert!(built.exists(), "{} is built by `cargo test -p mainstay-repository`", built.display());
    built
}

/// An operation on a repository, not yet started.
pub fn actor(repo: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(repo).args(args).stdin(Stdio::null());
    command
}

/// Runs an operation to its end.
pub fn run(repo: &Path, args: &[&str]) -> Output {
    actor(repo, args).output().unwrap()
}

/// Runs an operation that must succeed.
pub fn done(repo: &Path, args: &[&str]) {
    succeeded(&run(repo, args), args);
}

pub fn succeeded(output: &Output, what: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what:?} ended with {}: {said}", output.status);
}

pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}
