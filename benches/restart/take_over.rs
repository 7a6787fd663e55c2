//! How soon a new process answers, and how long the old one stays.

use std::io;

use graceful_benches::process::Program;
use graceful_benches::stats::median;
use graceful_benches::table::Table;

use crate::family::{Family, each, milliseconds};

/// How soon a new process answers, started by itself and by a restart, in turns.
pub(crate) fn rows(table: &mut Table, programs: &[Program], runs: usize) -> io::Result<()> {
    let measured = each(programs, |program| {
        let runs = (0..runs).map(|_| TakeOver::of(program));
        runs.collect::<io::Result<Vec<_>>>()
    })?;
    table.heading(&format!("milliseconds, median of {runs} runs"));
    let mut row = |label: &str, value: fn(&TakeOver) -> f64| {
        let medians = measured
            .iter()
            .map(|runs| median(&runs.iter().map(value).collect::<Vec<_>>()));
        table.row(label, medians.map(|median| format!("{median:.2}")));
    };
    row("    exec to the first answer, without a restart", |run| {
        run.start
    });
    row("    signal to the first answer of the successor", |run| {
        run.answer
    });
    row("    difference, run by run", |run| run.answer - run.start);
    row("    signal to the end of the predecessor", |run| run.end);
    Ok(())
}

/// The times of one start and one restart, in milliseconds.
struct TakeOver {
    start: f64,
    answer: f64,
    end: f64,
}

impl TakeOver {
    fn of(program: Program) -> io::Result<Self> {
        let mut family = Family::start(program)?;
        let begin = family.signal()?;
        Ok(Self {
            start: milliseconds(family.start_time),
            answer: milliseconds(family.wait_for_answer(begin)?),
            end: milliseconds(family.wait_for_predecessor(begin)?),
        })
    }
}
