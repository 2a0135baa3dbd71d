//! Debian's docker-registry, on this machine, in a folder that goes away.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub struct Registry {
    pub port: u16,
    pub folder: TempDir,
    process: Child,
}

/// `user:secret`, with bcrypt.
const USERS: &str = "user:$2b$04$2II2wiQmwyE4WNNCwKzvZuDFBvZ6QEe3/KV/wKL52GA6DwPBuQ22S\n";

impl Registry {
    /// None where the program is missing: `tests/run` says so.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    pub fn with_password() -> Option<Self> {
        Self::with("auth: {htpasswd: {realm: test, path: FOLDER/users}}\n")
    }

    /// With a certificate for `registry.test`, in `certificate.pem` of its folder.
    pub fn with_tls() -> Option<Self> {
        Self::with("  tls: {certificate: FOLDER/certificate.pem, key: FOLDER/key.pem}\n")
    }

    fn with(more: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |folder: std::path::PathBuf| folder.join("docker-registry").is_file();
        if !std::env::split_paths(&path).any(is_there) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: FOLDER/data}}}}\n\
             http:\n  addr: '127.0.0.1:{port}'\n{more}"
        );
        let certified = rcgen::generate_simple_self_signed(["registry.test".to_owned()]).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("certificate.pem", certified.cert.pem()).unwrap();
        write("key.pem", certified.signing_key.serialize_pem()).unwrap();
        write("users", USERS.to_owned()).unwrap();
        let path = folder.path().to_str().unwrap();
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config.replace("FOLDER", path)).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the package docker-registry is installed");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Some(Self { port, folder, process })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
