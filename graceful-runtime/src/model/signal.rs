//! The signals that can be listened to, and what a Ctrl-C means.
//!
//! A signal that cannot be caught, that reports a fault of the program itself, or that the runtime
//! needs for itself has no [`Signal`], so that no configuration can name it.

use std::fmt;
use std::time::{Duration, Instant};

/// How soon after a Ctrl-C a human can mean another one.
const SAME_PRESS: Duration = Duration::from_millis(300);

macro_rules! signals {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $number:ident, $async_name:ident;)*) => {
        /// A signal that can start a shutdown or a restart.
        ///
        /// The attribute writes them as `INT`, `TERM`; see signal(7) for what each means by default.
        ///
        /// ```
        /// use graceful::Signal;
        ///
        /// assert_eq!(Signal::Term.to_string(), "SIGTERM");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Signal {
            $($(#[doc = $doc])* $name,)*
        }

        impl Signal {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the number that the operating system knows it by.
            ///
            /// ```
            /// assert_eq!(graceful::Signal::Term.number(), 15);
            /// ```
            #[must_use]
            pub fn number(self) -> i32 {
                match self {
                    $(Self::$name => libc::$number,)*
                }
            }

            pub(crate) fn to_async(self) -> async_signal::Signal {
                match self {
                    $(Self::$name => async_signal::Signal::$async_name,)*
                }
            }

            pub(crate) fn from_async(signal: async_signal::Signal) -> Option<Self> {
                match signal {
                    $(async_signal::Signal::$async_name => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for Signal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

signals! {
    /// The terminal is gone; by convention also "read the configuration again".
    Hup = "SIGHUP", SIGHUP, Hup;
    /// A human pressed Ctrl-C.
    Int = "SIGINT", SIGINT, Int;
    /// A human pressed Ctrl-\, or nginx' word for a graceful stop.
    Quit = "SIGQUIT", SIGQUIT, Quit;
    /// Free for the program's own use.
    Usr1 = "SIGUSR1", SIGUSR1, Usr1;
    /// Free for the program's own use; by convention a restart.
    Usr2 = "SIGUSR2", SIGUSR2, Usr2;
    /// An alarm(2) clock has run down.
    Alrm = "SIGALRM", SIGALRM, Alarm;
    /// What supervisors send to stop a process.
    Term = "SIGTERM", SIGTERM, Term;
    /// The process was stopped and goes on.
    Cont = "SIGCONT", SIGCONT, Cont;
    /// A human pressed Ctrl-Z.
    Tstp = "SIGTSTP", SIGTSTP, Tstp;
    /// A background process reads from the terminal.
    Ttin = "SIGTTIN", SIGTTIN, Ttin;
    /// A background process writes to the terminal.
    Ttou = "SIGTTOU", SIGTTOU, Ttou;
    /// Urgent data has arrived on a socket.
    Urg = "SIGURG", SIGURG, Urg;
    /// The limit of CPU time is used up.
    Xcpu = "SIGXCPU", SIGXCPU, Xcpu;
    /// The limit of a file's size is reached.
    Xfsz = "SIGXFSZ", SIGXFSZ, Xfsz;
    /// A timer of the process' own CPU time has run down.
    Vtalrm = "SIGVTALRM", SIGVTALRM, Vtalarm;
    /// A profiling timer has run down.
    Prof = "SIGPROF", SIGPROF, Prof;
    /// The terminal's size has changed.
    Winch = "SIGWINCH", SIGWINCH, Winch;
    /// Input or output has become possible.
    Io = "SIGIO", SIGIO, Io;
}

/// Whether INT came once or twice, where two of them within moments are one.
///
/// The terminal sends it to all processes of the foreground, and npm, for one, sends it on to its child: one
/// Ctrl-C arrives twice.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    first: Option<Instant>,
}

/// What an INT means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    First,
    /// What was first, once more.
    Same,
    Again,
}

impl Interrupts {
    /// Takes note of one, and tells what it means.
    pub(crate) fn add(&mut self, now: Instant) -> Press {
        match self.first {
            None => {
                self.first = Some(now);
                Press::First
            }
            Some(first) if now < first + SAME_PRESS => Press::Same,
            Some(_) => Press::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Interrupts, Press, SAME_PRESS, Signal};

    #[test]
    fn two_interrupts_within_moments_are_one() {
        let begin = Instant::now();
        let mut interrupts = Interrupts::default();
        let presses = [
            (0, Press::First),
            (0, Press::Same),
            (99, Press::Same),
            (100, Press::Again),
        ];
        for (percent, press) in presses {
            assert_eq!(
                interrupts.add(begin + SAME_PRESS * percent / 100),
                press,
                "{percent} %"
            );
        }
    }

    #[test]
    fn names_numbers_and_conversions_agree() {
        for &signal in Signal::ALL {
            assert_eq!(Signal::from_async(signal.to_async()), Some(signal));
            assert_eq!(signal.to_async() as i32, signal.number());
            assert_eq!(signal.to_string(), format!("SIG{signal:?}").to_uppercase());
        }
    }
}
