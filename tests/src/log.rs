//! What a process printed so far, and a way to wait for more.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use crate::LIMIT;

/// The lines of a process' standard output and standard error, in the order they were read.
#[derive(Clone, Debug, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    open_streams: usize,
}

impl Log {
    /// Reads `stream` to its end on a thread of its own.
    pub fn follow(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        log.state().open_streams += 1;
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                log.change(|state| {
                    state
                        .lines
                        .push(String::from_utf8_lossy(&line).into_owned());
                });
            }
            log.change(|state| state.open_streams -= 1);
        });
    }

    /// Waits for the first line that contains `text` and returns it.
    ///
    /// # Panics
    ///
    /// When the process closes its output, or [`LIMIT`] passes, without such a line.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_times(text, 1)
    }

    /// Waits until `times` lines contain `text`, and returns the last of them.
    ///
    /// # Panics
    ///
    /// As [`wait_for`](Self::wait_for).
    #[track_caller]
    pub fn wait_for_times(&self, text: &str, times: usize) -> String {
        let found = |state: &State| {
            state
                .lines
                .iter()
                .filter(|line| line.contains(text))
                .nth(times - 1)
                .cloned()
        };
        match self.wait_until(|state| found(state).map(Ok).or_else(|| state.ended())) {
            Some(Ok(line)) => line,
            Some(Err(())) => panic!("the output ended without `{text}` ({times}):\n{self}"),
            None => panic!("no `{text}` ({times}) within {LIMIT:?}:\n{self}"),
        }
    }

    /// Waits for the first line that contains `text`, or for the process to close its output.
    #[track_caller]
    pub fn wait_for_or_end(&self, text: &str) {
        let has = |state: &State| state.lines.iter().any(|line| line.contains(text));
        let done =
            self.wait_until(|state| (has(state) || state.ended::<()>().is_some()).then_some(()));
        assert!(
            done.is_some(),
            "neither `{text}` nor an end within {LIMIT:?}:\n{self}"
        );
    }

    /// Waits until every stream has ended.
    #[track_caller]
    pub fn wait_for_end(&self) {
        let ended = self.wait_until(State::ended::<()>);
        assert!(
            ended.is_some(),
            "the output is still open after {LIMIT:?}:\n{self}"
        );
    }

    /// Returns all lines that contain `text`, as far as they were read.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let state = self.state();
        state
            .lines
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    /// Returns whether some line contains `text`.
    pub fn has(&self, text: &str) -> bool {
        !self.lines_with(text).is_empty()
    }

    /// Returns whether nothing was printed so far.
    pub fn is_empty(&self) -> bool {
        self.state().lines.is_empty()
    }

    /// Returns the place of the only line that contains `text`.
    ///
    /// # Panics
    ///
    /// When there is no such line, or more than one.
    #[track_caller]
    pub fn position(&self, text: &str) -> usize {
        let state = self.state();
        let mut places = (0..)
            .zip(&state.lines)
            .filter(|(_, line)| line.contains(text));
        let place = places.next().map(|(place, _)| place);
        let again = places.next().is_some();
        drop(state);
        assert!(!again, "`{text}` more than once:\n{self}");
        place.unwrap_or_else(|| panic!("`{text}` is missing:\n{self}"))
    }

    fn wait_until<R>(&self, ready: impl Fn(&State) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.state();
        loop {
            if let Some(result) = ready(&state) {
                return Some(result);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.shared.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole lines behind; they are what the report needs.
        self.shared
            .state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn ended<T>(&self) -> Option<Result<T, ()>> {
        (self.open_streams == 0).then_some(Err(()))
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state()
            .lines
            .iter()
            .try_for_each(|line| writeln!(f, "    {line}"))
    }
}
