//! What the process after many restarts has that the one after a few had not.

use std::io;
use std::time::Instant;

use graceful_benches::process::Program;
use graceful_benches::table::Table;

use crate::family::{Family, WARM_UP, each, milliseconds};

/// Compares the process after a few restarts with the one after many.
pub(crate) fn rows(table: &mut Table, programs: &[Program], restarts: usize) -> io::Result<()> {
    let grown = each(programs, |program| {
        let mut family = Family::start(program)?;
        (0..WARM_UP).try_for_each(|_| family.restart())?;
        let before = family.footprint()?;
        let begin = Instant::now();
        (0..restarts).try_for_each(|_| family.restart())?;
        let time = begin.elapsed();
        let after = family.footprint()?;
        Ok((before, after, time))
    })?;
    table.heading(&format!("what {restarts} restarts in a row leave behind"));
    for name in ["descriptors", "threads", "kB resident", "children"] {
        table.row(
            &format!("    {name}, before and after"),
            grown
                .iter()
                .map(|(before, after, _)| format!("{} {}", before[name], after[name])),
        );
    }
    table.row(
        "    milliseconds each, up to the end of the predecessor",
        grown
            .iter()
            .map(|(_, _, time)| format!("{:.1}", milliseconds(*time) / restarts as f64)),
    );
    Ok(())
}
