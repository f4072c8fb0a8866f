//! An sshd of the test's own on a loopback port, with keys of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::ledger;

/// A running sshd, stopped when dropped. Its user is the one that runs the test.
pub struct Sshd {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Sshd {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When OpenSSH's server is not installed or does not start.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("sshd-").tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["host_key", "user_key"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(name)]);
            assert!(make.status().expect("ssh-keygen can be run").success());
        }
        fs::copy(path("user_key.pub"), path("authorized_keys")).expect("a key");
        // A port that was free a moment ago; sshd itself cannot choose one.
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("an address").port();
        drop(probe);
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             Subsystem sftp internal-sftp\n",
            path("host_key"),
            path("authorized_keys")
        );
        fs::write(path("config"), settings).expect("a file");
        // Debian's sshd wants this folder, which its service would make.
        drop(fs::create_dir_all("/run/sshd"));
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stderr(fs::File::create(path("log")).expect("a log"))
            .spawn()
            .expect("sshd is needed: apt-get install openssh-server");
        let mut sshd = Self { folder, port, child };
        sshd.wait();
        ledger("OpenSSH", "server of this machine");
        sshd
    }

    fn wait(&mut self) {
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child");
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "sshd ended: {log}");
            assert!(begun.elapsed().as_secs() < 30, "sshd does not answer: {log}");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private key that it accepts.
    pub fn user_key(&self) -> PathBuf {
        self.folder.path().join("user_key")
    }

    /// Writes a `known_hosts` file that knows its key, or that of another host.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn known_hosts(&self, right: bool) -> PathBuf {
        let name = if right { "host_key.pub" } else { "user_key.pub" };
        let key = fs::read_to_string(self.folder.path().join(name)).expect("a key");
        let file = self.folder.path().join(if right { "known_hosts" } else { "wrong_hosts" });
        write(&file, &format!("[127.0.0.1]:{} {key}", self.port));
        file
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
