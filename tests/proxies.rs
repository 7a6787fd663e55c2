//! I5: two backends behind nginx and HAProxy restart in turn under a load of POST requests, and no client sees an error.
//! L9: where they restart in place, no connection to them ends.
//!
//! Both proxies keep connections to the backends and must not send a POST again, so that each request which a backend takes
//! and does not answer is an error for its client. Where a proxy is not installed, its tests say so and pass.

use std::collections::BTreeSet;

use graceful_tests::sockets::clients;
use graceful_tests::{Address, Deployment, Posts, Proxy, Server, Signal, command};

/// How often each backend restarts.
const ROUNDS: usize = 3;
/// How many requests each process has to answer.
const ANSWERS: usize = 100;

/// Nobody listens or connects from here but the backends, so that the port of one which has stopped stays free.
const LISTEN: &str = "listen=127.0.0.2:0";

/// Long enough that a proxy which a busy machine does not let run for a while does not find its connections closed.
const PATIENT: &str = "grace=10s";

#[test]
fn i5_behind_nginx_restarts_in_place_lose_nothing() {
    roll(Proxy::nginx, InPlace::start, |_| ());
}

#[test]
fn i5_behind_haproxy_restarts_in_place_lose_nothing() {
    roll(Proxy::haproxy, InPlace::start, |_| ());
}

#[test]
fn i5_behind_nginx_a_stop_and_a_start_lose_nothing() {
    roll(Proxy::nginx, Anew::start, |_| ());
}

#[test]
fn i5_behind_haproxy_a_stop_and_a_start_lose_nothing() {
    roll(Proxy::haproxy, Anew::start, |_| ());
}

#[test]
fn l9_behind_nginx_no_connection_to_a_backend_ends() {
    keep_connections(Proxy::nginx);
}

#[test]
fn l9_behind_haproxy_no_connection_to_a_backend_ends() {
    keep_connections(Proxy::haproxy);
}

fn keep_connections(proxy: fn([&Address; 2]) -> Result<Proxy, String>) {
    let known = |backend: &InPlace| clients(backend.address().tcp());
    let mut before = Vec::new();
    roll(proxy, InPlace::start, |backends: &[InPlace; 2]| {
        // They take turns in being the first.
        let now: Vec<_> = backends.iter().rev().map(known).collect();
        for (before, now) in before.iter().zip(backends.iter().map(known)) {
            let ended: Vec<_> = BTreeSet::difference(before, &now).collect();
            assert!(
                !before.is_empty() && ended.is_empty(),
                "{ended:?} of {before:?}"
            );
        }
        before = now;
    });
}

/// Restarts one backend after the other, and goes on when each has answered some.
fn roll<B: Backend>(
    proxy: fn([&Address; 2]) -> Result<Proxy, String>,
    start: fn() -> B,
    mut look: impl FnMut(&[B; 2]),
) {
    let mut backends = [start(), start()];
    let proxy = match proxy(backends.each_ref().map(B::address)) {
        Ok(proxy) => proxy,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let posts = Posts::start(proxy.address(), 4);
    let answer_some = |[first, second]: &[B; 2]| {
        posts.wait_for_answers(first.id(), ANSWERS);
        posts.wait_for_answers(second.id(), ANSWERS);
    };
    answer_some(&backends);
    look(&backends);
    for _ in 0..2 * ROUNDS {
        let [first, second] = backends;
        backends = [second, first.restart()];
        answer_some(&backends);
        look(&backends);
    }
    posts.expect_nothing_lost();
    // It would keep its connections for as long as the backends are patient.
    drop(proxy);
    backends.into_iter().for_each(B::stop);
}

/// A server behind the proxy.
trait Backend {
    /// Replaces the process by another one at the same address, and returns when the first has ended.
    fn restart(self) -> Self;
    fn stop(self);
    fn address(&self) -> &Address;
    fn id(&self) -> u32;
}

/// Hands over to its successor.
struct InPlace(Deployment);

impl InPlace {
    fn start() -> Self {
        Self(Deployment::start(
            env!("CARGO_BIN_EXE_restart"),
            &[LISTEN, PATIENT],
        ))
    }
}

impl Backend for InPlace {
    fn restart(mut self) -> Self {
        let old = self.0.restart();
        old.expect_exit(0, self.0.log());
        self
    }

    fn stop(self) {
        self.0.stop();
    }

    fn address(&self) -> &Address {
        &self.0.addresses()[0]
    }

    fn id(&self) -> u32 {
        self.0.serving().id()
    }
}

/// Stops, and only then is started again.
struct Anew(Server);

impl Anew {
    fn start() -> Self {
        Self(Server::start(command!("echo", LISTEN, PATIENT)))
    }
}

impl Backend for Anew {
    fn restart(self) -> Self {
        let listen = format!("listen={}", self.address());
        self.stop();
        Self(Server::start(command!("echo", listen, PATIENT)))
    }

    fn stop(self) {
        self.0.signal(Signal::TERM);
        self.0.exit().expect(0);
    }

    fn address(&self) -> &Address {
        self.0.address()
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}
