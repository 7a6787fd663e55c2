//! What one client in a closed loop sees, for as long as nothing happens, and while the server restarts.

use std::io;
use std::time::Duration;

use graceful_benches::process::Program;
use graceful_benches::table::Table;

use crate::clients::{Clients, Seen, paced};
use crate::family::{Family, WARM_UP, each};

pub(crate) fn rows(table: &mut Table, programs: &[Program], restarts: usize) -> io::Result<()> {
    let measured = each(programs, |program| Measured::of(program, restarts))?;
    table.heading("p99 of one client in a closed loop, µs");
    let mut row = |label: &str, value: fn(&Measured) -> String| {
        table.row(label, measured.iter().map(value));
    };
    row("    without restarts", |client| {
        format!("{:.0}", client.steady.p99())
    });
    row("    one restart every 600 ms", |client| {
        client.paced.beside_p99(&client.steady)
    });
    row("    one restart after the other", |client| {
        client.in_a_row.beside_p99(&client.steady)
    });
    row("    the program started beside it instead", |client| {
        client.beside.beside_p99(&client.steady)
    });
    row("    longest of all, ms", |client| {
        let longest = client.paced.longest().max(client.in_a_row.longest());
        format!("{longest:.1}")
    });
    table.heading(&format!(
        "    its requests during {} restarts",
        restarts * 2
    ));
    let mut row = |label: &str, count: fn(&Seen) -> usize| {
        let sums = measured
            .iter()
            .map(|client| count(&client.paced) + count(&client.in_a_row));
        table.row(label, sums);
    };
    row("        answered", |seen| seen.times.len());
    row("        lost", |seen| seen.lost);
    row("        refused", |seen| seen.refused);
    Ok(())
}

struct Measured {
    steady: Seen,
    paced: Seen,
    in_a_row: Seen,
    /// While the same program is started again and again, and has nothing to do with the server.
    beside: Seen,
}

impl Measured {
    fn of(program: Program, restarts: usize) -> io::Result<Self> {
        let mut family = Family::start(program)?;
        (0..WARM_UP).try_for_each(|_| family.restart())?;
        let mut client = Clients::new(family.address, 1);
        client.undisturbed(Duration::from_millis(500))?;
        Ok(Self {
            steady: client.undisturbed(Duration::from_secs(2))?,
            paced: client.during(|| paced(restarts, || family.restart()))?,
            in_a_row: client.during(|| (0..restarts).try_for_each(|_| family.restart()))?,
            beside: client
                .during(|| (0..restarts).try_for_each(|_| Family::start(program).map(drop)))?,
        })
    }
}
