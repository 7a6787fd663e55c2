//! Real proxies, in the foreground and in a directory of their own, between clients and two backends.
//!
//! Both keep their connections to the backends for as long as those do, and repeat what was refused, but nothing else: a POST
//! that a backend took and did not answer is the client's loss.

use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std::{env, fs, thread};

use tempfile::TempDir;

use crate::log::Log;
use crate::process::spawn;
use crate::{Address, LIMIT};

/// A running proxy. Dropping it kills it.
#[derive(Debug)]
pub struct Proxy {
    process: Child,
    log: Log,
    address: Address,
    _directory: TempDir,
}

impl Proxy {
    /// Starts nginx, which lets nobody through to `/internal`.
    ///
    /// # Errors
    ///
    /// Where it is not installed; says so.
    pub fn nginx(backends: [&Address; 2]) -> Result<Self, String> {
        // One process without a master: nothing is left of it when it is killed, and nothing needs root.
        let [first, second] = backends;
        let configuration = format!(
            "daemon off;
             master_process off;
             pid nginx.pid;
             error_log stderr;
             events {{}}
             http {{
                 access_log off;
                 client_body_temp_path client;
                 proxy_temp_path proxy;
                 fastcgi_temp_path fastcgi;
                 uwsgi_temp_path uwsgi;
                 scgi_temp_path scgi;
                 upstream backends {{
                     server {first} max_fails=0;
                     server {second} max_fails=0;
                     keepalive 16;
                     keepalive_requests 1000000;
                 }}
                 server {{
                     listen unix:socket;
                     location /internal {{ deny all; }}
                     location / {{
                         proxy_pass http://backends;
                         proxy_http_version 1.1;
                         proxy_set_header Connection \"\";
                     }}
                 }}
             }}"
        );
        Self::start("nginx", &configuration, &["-e", "stderr", "-p", ".", "-c"])
    }

    /// Starts HAProxy.
    ///
    /// # Errors
    ///
    /// Where it is not installed; says so.
    pub fn haproxy(backends: [&Address; 2]) -> Result<Self, String> {
        let [first, second] = backends;
        let configuration = format!(
            "defaults
                 mode http
                 timeout connect 30s
                 timeout client 60s
                 timeout server 60s
                 retries 3
                 option redispatch 1
             frontend clients
                 bind unix@socket
                 default_backend backends
             backend backends
                 http-reuse always
                 server first {first} pool-purge-delay 1h
                 server second {second} pool-purge-delay 1h\n"
        );
        Self::start("haproxy", &configuration, &["-db", "-f"])
    }

    /// Returns where it accepts clients.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Starts `program` with `configuration` in a file, as the last of its `arguments`.
    fn start(program: &str, configuration: &str, arguments: &[&str]) -> Result<Self, String> {
        let version = command(program).arg("-v").output();
        version.map_err(|error| format!("{program} is not installed: {error}"))?;
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let file = directory.path().join("proxy.conf");
        fs::write(&file, configuration).expect("a new directory can be written to");
        let mut command = command(program);
        command.args(arguments).arg(&file).current_dir(&directory);
        let (process, log) = spawn(command);
        let mut proxy = Self {
            process,
            log,
            address: Address::Unix(directory.path().join("socket")),
            _directory: directory,
        };
        proxy.wait_until_it_accepts();
        Ok(proxy)
    }

    #[track_caller]
    fn wait_until_it_accepts(&mut self) {
        let deadline = Instant::now() + LIMIT;
        while let Err(error) = self.address.connect() {
            let is_running = matches!(self.process.try_wait(), Ok(None));
            let may_come = is_running && Instant::now() < deadline;
            assert!(may_come, "it does not accept: {error}");
            thread::yield_now();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Only fails where the process has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("the proxy said:\n{}", self.log);
        }
    }
}

/// Proxies are where the path of an ordinary user does not always lead.
fn command(program: &str) -> Command {
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .env("PATH", format!("{path}:/usr/sbin"))
        .stdin(Stdio::null());
    command
}
