//! The command line of the servers under test: `name=value`, in any order.

use std::fs;
use std::time::Duration;

use graceful::{Config, Signal};

/// The settings of a server process.
#[derive(Clone, Debug)]
pub struct Settings {
    pairs: Vec<(String, String)>,
}

impl Settings {
    /// Reads the command line of this process, and the lines of the file that `settings=` names.
    pub fn from_args() -> Self {
        let mut settings = Self {
            pairs: std::env::args().skip(1).map(pair).collect(),
        };
        if let Some(path) = settings.text("settings") {
            let lines = fs::read_to_string(path).expect("`settings=` names a file");
            settings.pairs.extend(lines.lines().map(pair));
        }
        settings
    }

    /// Returns every value given for `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.pairs.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Returns the value given for `name`.
    pub fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Returns the number given for `name`.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.text(name)
            .map(|value| value.parse().expect("a number"))
    }

    /// Returns the duration given for `name`, as `1s` or `20ms`.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.text(name).map(duration)
    }

    /// Returns what these settings mean to the runtime.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        if let Some(timeout) = self.duration("timeout") {
            config = config.timeout(timeout);
        }
        if let Some(signals) = self.text("signals") {
            config = config.signals(signals.split(',').map(signal));
        }
        if let Some(restart) = self.text("restart") {
            config = config.restart(restart.split(',').map(signal));
        }
        if let Some(timeout) = self.duration("start_timeout") {
            config = config.start_timeout(timeout);
        }
        if let Some(timeout) = self.duration("restart_timeout") {
            config = config.restart_timeout(timeout);
        }
        if let Some(path) = self.text("pid_file") {
            config = config.pid_file(path);
        }
        if self.text("ready") == Some("manual") {
            config = config.manual_ready();
        }
        if let Some(lame_duck) = self.duration("lame_duck") {
            config = config.lame_duck(lame_duck);
        }
        if let Some(grace) = self.duration("grace") {
            config = config.keep_alive_grace(grace);
        }
        if let Some(threads) = self.number("workers") {
            config = config.worker_threads(threads);
        }
        if self.text("flavor") == Some("current_thread") {
            config = config.current_thread();
        }
        config
    }
}

fn pair(argument: impl AsRef<str>) -> (String, String) {
    let (name, value) = argument
        .as_ref()
        .split_once('=')
        .expect("an argument is `name=value`");
    (name.to_owned(), value.to_owned())
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0));
    let number = number.parse().expect("a duration begins with a number");
    match unit {
        "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        _ => panic!("`{text}` is neither seconds nor milliseconds"),
    }
}

/// Every signal that can be listed, with the name it has in the attribute.
pub const SIGNALS: [(&str, Signal); 18] = [
    ("HUP", Signal::Hup),
    ("INT", Signal::Int),
    ("QUIT", Signal::Quit),
    ("USR1", Signal::Usr1),
    ("USR2", Signal::Usr2),
    ("ALRM", Signal::Alrm),
    ("TERM", Signal::Term),
    ("CONT", Signal::Cont),
    ("TSTP", Signal::Tstp),
    ("TTIN", Signal::Ttin),
    ("TTOU", Signal::Ttou),
    ("URG", Signal::Urg),
    ("XCPU", Signal::Xcpu),
    ("XFSZ", Signal::Xfsz),
    ("VTALRM", Signal::Vtalrm),
    ("PROF", Signal::Prof),
    ("WINCH", Signal::Winch),
    ("IO", Signal::Io),
];

fn signal(name: &str) -> Signal {
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    known
        .unwrap_or_else(|| panic!("`{name}` is not a signal"))
        .1
}
