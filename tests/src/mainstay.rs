//! The real binary in a world of its own: a config repository in git, data, a backup repository, a
//! state, secrets, all in one temporary folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Returns the binary, built from the tree as it is, in the profile of the running test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        // target/PROFILE/deps/test-123 → target/PROFILE
        let folder =
            test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
        let target = folder.parent().expect("profiles lie in the target folder");
        let top = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "-p", "mainstay-cli", "--target-dir"]);
        build.arg(target).current_dir(top);
        if folder.file_name() == Some(OsStr::new("release")) {
            build.arg("--release");
        }
        let status = build.status().expect("cargo can be run");
        assert!(status.success(), "the binary could not be built");
        folder.join("mainstay")
    })
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Run {
    /// Its code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "unexpected exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Checks that both streams together contain a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "`{text}` was not said\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Returns standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}):\n{}\n{}", self.stdout, self.stderr),
        }
    }
}

/// A world for one test.
pub struct World {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

/// The password of every test repository; searched for in everything that is written.
pub const PASSWORD: &str = "correct-horse-battery-staple-81723";

impl World {
    /// Returns a world without documents.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("mainstay-e2e-").tempdir().expect("a folder");
        let world = Self { folder, env: BTreeMap::new() };
        for name in ["config", "data", "secrets", "state", "home"] {
            fs::create_dir(world.path(name)).expect("a folder");
        }
        world.secret("repository-password", PASSWORD);
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world
    }

    /// Returns a world with a folder and a repository, the documents committed.
    pub fn with_folder() -> Self {
        let world = Self::new();
        fs::create_dir(world.path("data/uploads")).expect("a folder");
        for n in 0..20 {
            world.write(&format!("data/uploads/file-{n:02}.txt"), &format!("content of {n}\n"));
        }
        let documents = world.documents();
        world.document("mainstay.yaml", &documents);
        world.commit("protect the folder");
        world
    }

    /// Returns the documents of `with_folder`.
    pub fn documents(&self) -> String {
        let top = self.top();
        format!(
            r#"apiVersion: mainstay.dev/v1
kind: Host
metadata: {{ name: here }}
spec: {{ connection: local }}
---
apiVersion: mainstay.dev/v1
kind: Repository
metadata: {{ name: local }}
spec:
  storage: {{ local: {{ path: "{top}/backups" }} }}
  password: {{ secret: repository-password }}
---
apiVersion: mainstay.dev/v1
kind: Application
metadata: {{ name: shop }}
spec:
  resources:
    - name: uploads
      type: directory
      target: host/here
      with: {{ path: "{top}/data/uploads" }}
---
apiVersion: mainstay.dev/v1
kind: Backup
metadata: {{ name: shop }}
spec:
  select: {{ application: shop }}
  schedule: "@every 168h"
  repositories: [local]
  retention: {{ last: 3 }}
---
apiVersion: mainstay.dev/v1
kind: RecoveryPolicy
metadata: {{ name: shop }}
spec:
  select: {{ application: shop }}
  responses: {{ lost: restore, rolledBack: restore, damaged: restore }}
"#
        )
    }

    /// Returns the world's folder as text.
    pub fn top(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Returns a path in the world.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Sets a variable for every later run.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    /// Writes a file.
    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("a file");
    }

    /// Reads a file.
    pub fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).expect("a file to read")
    }

    /// Puts a secret in place.
    pub fn secret(&self, name: &str, value: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(&format!("secrets/{name}"));
        fs::write(&path, value).expect("a secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Writes a document into the config repository without committing it.
    pub fn document(&self, name: &str, text: &str) {
        self.write(&format!("config/{name}"), text);
    }

    /// Commits everything in the config repository; returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git in the config repository.
    #[track_caller]
    pub fn git(&self, words: &[&str]) -> String {
        let output = crate::git()
            .command()
            .args(words)
            .current_dir(self.path("config"))
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([
                ("GIT_AUTHOR_NAME", "t"),
                ("GIT_AUTHOR_EMAIL", "t@example.com"),
                ("GIT_COMMITTER_NAME", "t"),
                ("GIT_COMMITTER_EMAIL", "t@example.com"),
            ])
            .output()
            .expect("git can be run");
        let run = Run::of(&output);
        assert_eq!(run.code, 0, "git {words:?}: {}", run.stderr);
        run.stdout
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("MAINSTAY_CONFIG", self.path("config"))
            .env("MAINSTAY_STATE", self.path("state"))
            .env("MAINSTAY_SECRETS", self.path("secrets"))
            .envs(&self.env);
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, words: &[&str]) -> Run {
        Run::of(&self.command(words).output().expect("the binary can be run"))
    }

    /// Runs the binary with one more variable.
    pub fn run_with(&self, words: &[&str], name: &str, value: &str) -> Run {
        let output = self.command(words).env(name, value).output();
        Run::of(&output.expect("the binary can be run"))
    }

    /// Runs the binary as another user, who has no rights but his own.
    pub fn run_as(&self, uid: u32, words: &[&str]) -> Run {
        let inner = self.command(words);
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
        command.args(["--clear-groups", "--"]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        for (name, value) in inner.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        Run::of(&command.output().expect("setpriv can be run"))
    }

    /// Starts the binary; standard error goes to a file in the world.
    pub fn spawn(&self, words: &[&str], log: &str) -> Running {
        let file = fs::File::create(self.path(log)).expect("a log");
        let child = self
            .command(words)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the binary can be run");
        Running { child, log: self.path(log) }
    }

    /// Returns the plan as JSON, whatever its exit code.
    #[track_caller]
    pub fn plan(&self) -> serde_json::Value {
        self.run(&["plan", "--format", "json"]).json()
    }

    /// Returns the ids of the plan's steps, in order.
    #[track_caller]
    pub fn steps(&self) -> Vec<String> {
        let plan = self.plan();
        let steps = plan.pointer("/plan/steps").and_then(|s| s.as_array()).expect("steps");
        steps.iter().map(|s| s["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Returns the condition of a resource.
    #[track_caller]
    pub fn condition(&self, address: &str) -> String {
        let status = self.run(&["status", "--format", "json"]).json();
        let condition = &status["resources"][address]["condition"];
        match condition {
            serde_json::Value::String(word) => word.clone(),
            serde_json::Value::Object(map) => map.keys().next().expect("a word").clone(),
            other => panic!("no condition of {address}: {other} in {status}"),
        }
    }

    /// Returns the digest that approves the destructive steps.
    #[track_caller]
    pub fn digest(&self) -> String {
        let plan = self.plan();
        plan.pointer("/plan/destructive").and_then(|d| d.as_str()).expect("a digest").to_owned()
    }

    /// Returns how many snapshots of resources there are.
    #[track_caller]
    pub fn points(&self) -> usize {
        let points = self.run(&["snapshots", "--format", "json"]).ends(0).json();
        points.as_array().expect("a list").len()
    }

    /// Lets restic judge the repository: everything is read and compared.
    #[track_caller]
    pub fn judge(&self) {
        self.restic(&["check", "--read-data"]);
    }

    /// Lets restic judge a repository in another folder, which a service keeps.
    #[track_caller]
    pub fn judge_at(&self, folder: &Path) {
        self.restic_at(folder, &["check", "--read-data"]);
    }

    /// Runs restic on the repository.
    #[track_caller]
    pub fn restic(&self, words: &[&str]) -> String {
        self.restic_at(&self.path("backups"), words)
    }

    /// Follows a printed runbook to the letter: its commands in order, with nothing but restic.
    #[track_caller]
    pub fn follow(&self, page: &str) {
        assert!(page.contains("## Recipes"), "{page}");
        let mut script = String::from("set -eu\n");
        let mut rest = page;
        while let Some((_, block)) = rest.split_once("```sh\n") {
            let (commands, after) = block.split_once("```\n").expect("an end");
            script.push_str(commands);
            rest = after;
        }
        let program = crate::restic().path;
        let folder = program.parent().expect("restic lies in a folder");
        let path = self.env.get("PATH").cloned();
        let path = path.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("SECRETS", self.path("secrets"))
            .env("HOME", self.path("home"))
            .env("PATH", format!("{}:{path}", folder.display()))
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}\n{out}\n{said}");
    }

    /// Runs restic on a repository that lies elsewhere.
    #[track_caller]
    pub fn restic_at(&self, folder: &Path, words: &[&str]) -> String {
        let output = crate::restic()
            .command()
            .args(words)
            .env("RESTIC_REPOSITORY", folder)
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("RESTIC_CACHE_DIR", self.path("home/restic-cache"))
            .output()
            .expect("restic can be run");
        let run = Run::of(&output);
        assert_eq!(run.code, 0, "restic {words:?}:\n{}\n{}", run.stdout, run.stderr);
        run.stdout
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A running binary, killed when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it logged a text; panics when it ended before or took too long.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let begun = std::time::Instant::now();
        while !self.log().contains(text) {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended with {ended:?} before `{text}`:\n{}", self.log());
            assert!(begun.elapsed().as_secs() < 120, "`{text}` did not come:\n{}", self.log());
            std::thread::yield_now();
            // Waiting for another process has no event to wait on; the wait is bounded above.
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    /// Sends a signal by name: `TERM`, `KILL`, `INT`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill can be run").success());
    }

    /// Waits for its end; returns its code, -1 for a signal.
    pub fn wait(&mut self) -> i32 {
        self.child.wait().expect("a child").code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
