//! Makes sentences of errors of which only the `Debug` form is to be had: that of an [`io::Error`] wraps a
//! good sentence into the names of its fields.

use std::any::{Any, type_name};
use std::fmt::Debug;
use std::io;

use crate::text::one_line;

/// Puts the error of a `main` or of a server into words.
///
/// That is its `Debug` form, in as many lines, as the standard library prints it, but for an [`io::Error`], by itself
/// or inside another error.
pub(crate) fn in_words<E: Debug>(error: &E) -> String {
    let debug = format!("{error:?}");
    if type_name::<E>() == type_name::<io::Error>()
        && let Some(sentence) = simple(&debug)
    {
        return one_line(&sentence);
    }
    match form(&debug) {
        // As where it is in a box.
        Some((sentence, "")) => one_line(&sentence),
        _ => without_forms(&debug),
    }
}

/// Puts each [`io::Error`] that a text repeats in its `Debug` form into words.
pub(crate) fn without_forms(text: &str) -> String {
    let mut words = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_begin = !words.ends_with(|before: char| before.is_alphanumeric() || before == '"');
        if is_begin && let Some((sentence, after)) = form(rest) {
            words.push_str(&sentence);
            rest = after;
        } else {
            words.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    words
}

/// Returns the error of the operating system that a text in words speaks of, if it does.
pub(crate) fn os_error_in(words: &str) -> Option<io::Error> {
    let (_, code) = words.split_once("(os error ")?;
    let (code, _) = code.split_once(')')?;
    Some(io::Error::from_raw_os_error(code.parse().ok()?))
}

/// Returns what a panic says, where that is a text.
pub(crate) fn text_of(payload: &dyn Any) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied())
}

/// Reads an [`io::Error`] at the beginning of `text`; returns what it says, and what comes behind it.
fn form(text: &str) -> Option<(String, &str)> {
    if let Some(os) = text.strip_prefix("Os { code: ") {
        let (code, rest) = os.split_once(", kind: ")?;
        let (_, rest) = rest.split_once(", message: \"")?;
        let (_, rest) = rest.split_once("\" }")?;
        let error = io::Error::from_raw_os_error(code.parse().ok()?);
        return Some((error.to_string(), rest));
    }
    let custom = text.strip_prefix("Custom { kind: ")?;
    let (kind, inner) = custom.split_once(", error: ")?;
    let is_kind = kind.starts_with(char::is_uppercase) && kind.chars().all(char::is_alphanumeric);
    let (inner, rest) = inner.split_at(end_of_braces(inner).filter(|_| is_kind)?);
    let said = without_forms(unquoted(inner.strip_suffix(' ')?));
    Some((said, rest.strip_prefix('}')?))
}

/// Reads one of the forms that only a whole [`io::Error`] is known by.
fn simple(debug: &str) -> Option<String> {
    if let Some(kind) = debug.strip_prefix("Kind(") {
        let mut words = String::new();
        for character in kind.strip_suffix(')')?.chars() {
            if character.is_uppercase() && !words.is_empty() {
                words.push(' ');
            }
            words.extend(character.to_lowercase());
        }
        return Some(words);
    }
    let fields = debug.strip_prefix("Error { kind: ")?.strip_suffix(" }")?;
    let (_, message) = fields.split_once(", message: ")?;
    Some(unquoted(message).into())
}

/// Finds the brace that closes what has been opened before `text`.
fn end_of_braces(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.bytes().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Returns what a string says. What is escaped in it is better left so.
fn unquoted(debug: &str) -> &str {
    let quoted = debug
        .strip_prefix('"')
        .and_then(|said| said.strip_suffix('"'));
    quoted.filter(|said| !said.contains('\\')).unwrap_or(debug)
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fmt::{self, Debug, Display};
    use std::io;

    use super::{in_words, os_error_in, without_forms};

    /// An error with a text of its own, as it is printed.
    #[derive(Clone, Copy)]
    struct Said(&'static str);

    impl Debug for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Display::fmt(self, f)
        }
    }

    impl Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Said {}

    /// An error as programs declare it.
    #[derive(Debug)]
    #[expect(dead_code, reason = "the `Debug` form reads it")]
    enum Own {
        Io(io::Error),
        Custom { kind: u8, error: &'static str },
    }

    const TOO_MANY: &str = "Too many open files (os error 24)";

    fn too_many() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[test]
    fn an_error_is_said_as_a_person_would() {
        let lines = Said("first\nsecond\u{1b}[2J");
        for (error, words) in [
            (io::Error::other("no database"), "no database"),
            (io::Error::other("no \"database\""), r#""no \"database\"""#),
            (too_many(), TOO_MANY),
            (io::Error::other(too_many()), TOO_MANY),
            (
                io::Error::other(io::Error::other("no database")),
                "no database",
            ),
            (io::Error::other(Said("a {brace}")), "a {brace}"),
            (
                io::ErrorKind::ConnectionRefused.into(),
                "connection refused",
            ),
            (
                std::fs::File::open("\0").unwrap_err(),
                "file name contained an unexpected NUL byte",
            ),
            (io::Error::other(lines), r"first\nsecond\u{1b}[2J"),
        ] {
            assert_eq!(in_words(&error), words);
        }
    }

    #[test]
    fn an_io_error_inside_another_is_said_so_as_well() {
        let boxed = |error: io::Error| Box::<dyn Error + Send + Sync>::from(error);
        assert_eq!(
            in_words(&boxed(io::Error::other("no database"))),
            "no database"
        );
        assert_eq!(in_words(&boxed(too_many())), TOO_MANY);
        assert_eq!(in_words(&boxed(io::Error::other(Said("a\nb")))), r"a\nb");
        assert_eq!(in_words(&Own::Io(too_many())), format!("Io({TOO_MANY})"));
        let other = io::Error::other("no database");
        assert_eq!(in_words(&Own::Io(other)), "Io(no database)");
        assert_eq!(
            in_words(&Some(Own::Io(io::Error::other(too_many())))),
            format!("Some(Io({TOO_MANY}))")
        );
    }

    #[test]
    fn the_form_of_a_programs_own_error_is_its_own() {
        let lines = Said("first\n\nCaused by:\n    second");
        assert_eq!(in_words(&lines), lines.0);
        let boxed: Box<dyn Error> = Box::new(lines);
        assert_eq!(in_words(&boxed), lines.0);
        for text in [
            "Custom { kind: Other, error: 1 }",
            "Os { code: 24 }",
            "Custom { kind: ",
            "Custom { kind: Other, error: ",
        ] {
            assert_eq!(in_words(&text), format!("{text:?}"));
        }
        let own = Own::Custom {
            kind: 1,
            error: "x",
        };
        assert_eq!(
            without_forms("MyOs { code: 24, kind: A, message: \"\" }"),
            "MyOs { code: 24, kind: A, message: \"\" }"
        );
        assert_eq!(in_words(&own), r#"Custom { kind: 1, error: "x" }"#);
    }

    #[test]
    fn a_panic_of_a_library_says_what_is_short() {
        let said = format!("cannot begin: {:?}", too_many());
        let words = without_forms(&said);
        assert_eq!(words, format!("cannot begin: {TOO_MANY}"));
        assert_eq!(
            os_error_in(&words).and_then(|error| error.raw_os_error()),
            Some(24)
        );
        assert!(os_error_in("no luck").is_none());
    }
}
