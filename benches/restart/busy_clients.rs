//! What many keep-alive clients notice of restarts: connections, requests, and time.

use std::io;
use std::time::Duration;

use graceful_benches::process::Program;
use graceful_benches::table::Table;

use crate::clients::{Clients, Seen, paced};
use crate::family::{Family, WARM_UP, each};

const CLIENTS: usize = 32;

pub(crate) fn rows(table: &mut Table, programs: &[Program], restarts: usize) -> io::Result<()> {
    let measured = each(programs, |program| Measured::of(program, restarts))?;
    table.heading(&format!(
        "p99 of {CLIENTS} keep-alive clients in a closed loop, µs"
    ));
    let mut row = |label: &str, value: fn(&Measured) -> String| {
        table.row(label, measured.iter().map(value));
    };
    row("    without restarts", |clients| {
        format!("{:.0}", clients.steady.p99())
    });
    row("    one restart every 600 ms", |clients| {
        clients.restarted.beside_p99(&clients.steady)
    });
    row(
        "    the program started beside it every 600 ms instead",
        |clients| clients.beside.beside_p99(&clients.steady),
    );
    row("    longest answer of each, ms", |clients| {
        [&clients.steady, &clients.restarted, &clients.beside]
            .map(|seen| format!("{:.1}", seen.longest()))
            .join(", ")
    });
    table.heading(&format!("    over {restarts} restarts"));
    let restarted = measured.iter().map(|clients| &clients.restarted);
    let mut row = |label: &str, count: fn(&Seen) -> usize| {
        table.row(label, restarted.clone().map(count));
    };
    row("        connections opened anew", |seen| seen.opened);
    row("        responses with `connection: close`", |seen| {
        seen.closing
    });
    row("        requests answered", |seen| seen.times.len());
    row("        requests lost", |seen| seen.lost);
    row("        connects refused", |seen| seen.refused);
    Ok(())
}

struct Measured {
    steady: Seen,
    restarted: Seen,
    /// While the same program is started again and again, and has nothing to do with the server.
    beside: Seen,
}

impl Measured {
    fn of(program: Program, restarts: usize) -> io::Result<Self> {
        let mut family = Family::start(program)?;
        (0..WARM_UP).try_for_each(|_| family.restart())?;
        let mut clients = Clients::new(family.address, CLIENTS);
        // Here they connect, which is no consequence of a restart.
        clients.undisturbed(Duration::from_millis(500))?;
        Ok(Self {
            steady: clients.undisturbed(Duration::from_secs(5))?,
            restarted: clients.during(|| paced(restarts, || family.restart()))?,
            beside: clients.during(|| paced(restarts, || Family::start(program).map(drop)))?,
        })
    }
}
