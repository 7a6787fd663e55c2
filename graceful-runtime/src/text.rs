//! What of others' words may be printed: nothing that a terminal obeys, that looks like the end of a line or that
//! turns the direction of the text, and not too much of it.

use std::fmt::{self, Display};
use std::time::Duration;

/// How many bytes an error may have: less than what a pipe takes in one piece.
const ERROR_MAX: usize = 2000;

/// Returns what an error of ours says, whatever names, paths and reasons of others it repeats.
pub(crate) fn one_line(error: &impl Display) -> String {
    printable(&error.to_string(), ERROR_MAX)
}

/// Returns `text` on one line of at most `max` bytes; what is left out is an ellipsis.
///
/// Control and format characters are escaped as Rust writes them. A name that a client has chosen must not end
/// a line, nor send a terminal an escape sequence, of which U+009B begins one without an ESC.
pub(crate) fn printable(text: &str, max: usize) -> String {
    const ELLIPSIS: &str = "…";

    let mut line = String::new();
    let mut end = 0;
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            // Escapes what cannot be printed: categories Cc, Cf, Zl, Zp and the like.
            _ => line.extend(character.escape_debug()),
        }
        if line.len() > max {
            line.truncate(end);
            line.push_str(ELLIPSIS);
            return line;
        }
        if line.len() + ELLIPSIS.len() <= max {
            end = line.len();
        }
    }
    line
}

/// Counts `what`, as in `2 requests`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A span of time as people write it: `350 ms`, `1.9 s`, `5 s`, `90 s`.
pub(crate) struct Span(pub(crate) Duration);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let tenths = (millis + 50) / 100;
        match (millis, tenths / 10, tenths % 10) {
            (0..1000, ..) if tenths < 10 => write!(f, "{millis} ms"),
            (_, seconds, 0) => write!(f, "{seconds} s"),
            (_, seconds, tenth) if seconds < 60 => write!(f, "{seconds}.{tenth} s"),
            (_, seconds, _) => write!(f, "{seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Span, printable};

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (text, expected) in [
            ("GET /größe?\"x\"", "GET /größe?\"x\""),
            ("a\nb\r\u{1b}[2J", r"a\nb\r\u{1b}[2J"),
            (
                "\u{9b}31m \u{85} \u{2028} \u{2029}",
                r"\u{9b}31m \u{85} \u{2028} \u{2029}",
            ),
            (
                "\u{202e}\u{2066}\u{200b}\u{feff}\u{ad}",
                r"\u{202e}\u{2066}\u{200b}\u{feff}\u{ad}",
            ),
            ("\u{e0041}\u{7f}\0", r"\u{e0041}\u{7f}\0"),
        ] {
            let line = printable(text, 400);
            assert_eq!(line, expected);
            assert_eq!(printable(&line, 400), line, "it can be done twice");
        }
    }

    #[test]
    fn a_line_has_its_length_whatever_is_cut() {
        for text in ["x".repeat(1000), "ü".repeat(1000), "\u{9b}".repeat(1000)] {
            for max in 3..100 {
                let line = printable(&text, max);
                assert!(line.len() <= max && line.ends_with('…'), "{max}: {line}");
                assert_eq!(
                    line.matches('{').count(),
                    line.matches('}').count(),
                    "{line}"
                );
            }
        }
        assert_eq!(printable("12345", 5), "12345");
        assert_eq!(printable("123456", 5), "12…");
    }

    #[test]
    fn spans_read_as_people_write_them() {
        for (millis, text) in [
            (0, "0 ms"),
            (12, "12 ms"),
            (949, "949 ms"),
            (950, "1 s"),
            (999, "1 s"),
            (1049, "1 s"),
            (1900, "1.9 s"),
            (5000, "5 s"),
            (59_940, "59.9 s"),
            (61_500, "61 s"),
            (90_000, "90 s"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
