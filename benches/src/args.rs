//! The command line of a measurement.

/// The arguments after `--` on the command line.
#[derive(Debug)]
pub struct Args {
    words: Vec<String>,
    quick: bool,
}

impl Args {
    /// Reads the command line of this process.
    ///
    /// `cargo bench` passes `--bench`; without it (`cargo test --benches`) the measurement is only
    /// tried out, as with `--quick`.
    pub fn from_env() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let has = |name: &str| words.iter().any(|word| word == name);
        let quick = has("--quick") || !has("--bench");
        Self { words, quick }
    }

    /// Whether a few seconds of running are all that is wanted.
    pub fn quick(&self) -> bool {
        self.quick
    }

    /// Whether `part` of the measurement is wanted: where `--only` names one, no other is.
    pub fn includes(&self, part: &str) -> bool {
        let only = self.words.iter().position(|word| word == "--only");
        only.is_none_or(|at| self.words.get(at + 1).is_some_and(|word| word == part))
    }

    /// Returns the number given as `name NUMBER`, or else the default of this mode.
    ///
    /// # Panics
    ///
    /// Panics if what follows `name` is not a positive number.
    pub fn number(&self, name: &str, default: usize, quick: usize) -> usize {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return if self.quick { quick } else { default };
        };
        let value = self.words.get(at + 1).and_then(|word| word.parse().ok());
        value
            .filter(|&number| number > 0)
            .unwrap_or_else(|| panic!("{name} takes a number, one or more"))
    }
}
