//! What becomes of many idle connections at a restart.

use std::io;
use std::thread;
use std::time::Duration;

use graceful_benches::client::{Connection, answers, open_many};
use graceful_benches::process::{self, Program};
use graceful_benches::table::Table;

use crate::family::{Family, WARM_UP, each, milliseconds};

/// How long they have been silent before the restart: one used just before is another case.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) fn rows(table: &mut Table, programs: &[Program], wanted: usize) -> io::Result<()> {
    let connections = process::allow_connections(wanted)?;
    let measured = each(programs, |program| Measured::of(program, connections))?;
    table.heading(&format!(
        "a restart with {connections} idle connections{}",
        process::shortfall(connections, wanted)
    ));
    let mut row = |label: &str, value: fn(&Measured) -> String| {
        table.row(label, measured.iter().map(value));
    };
    row(
        "    signal to the first answer of the successor, ms",
        |run| time(run.answer),
    );
    row("    signal to the end of the predecessor, ms", |run| {
        time(run.end)
    });
    row("    of them answer another request afterwards", |run| {
        run.answering.to_string()
    });
    row("        from the successor", |run| {
        run.from_successor.to_string()
    });
    Ok(())
}

/// What one restart did; no time where it was given up.
struct Measured {
    answer: Option<Duration>,
    end: Option<Duration>,
    answering: usize,
    from_successor: usize,
}

impl Measured {
    fn of(program: Program, connections: usize) -> io::Result<Self> {
        let mut family = Family::start(program)?;
        (0..WARM_UP).try_for_each(|_| family.restart())?;
        let mut open = open_many(family.address, connections, true)?;
        thread::sleep(IDLE);
        let begin = family.signal()?;
        let answer = family.wait_for_answer(begin).ok();
        let end = answer.and_then(|_| family.wait_for_predecessor(begin).ok());
        let ids = answers(&mut open, |connection| {
            connection.receive_number().map(|(_, id)| id)
        });
        // While the server lives, so that no port of either side is occupied for a minute.
        open.into_iter().try_for_each(Connection::reset)?;
        Ok(Self {
            answer,
            end,
            answering: ids.len(),
            from_successor: ids.iter().filter(|id| **id == family.serving).count(),
        })
    }
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| format!("{:.1}", milliseconds(time)),
    )
}
