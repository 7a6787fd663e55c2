//! Signals by name: `[INT, TERM]`.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{Expr, ExprArray, LitStr, Path};

use crate::errors::{Errors, list, nearest};
use crate::literal::string;

/// A signal that the attribute names, and where it does.
pub(crate) struct Signal {
    pub(crate) name: &'static str,
    pub(crate) place: Ident,
}

impl Signal {
    /// Returns its variant in the runtime's `Signal`, placed where the name is written.
    pub(crate) fn variant(&self) -> Ident {
        let (first, rest) = self.name.split_at(1);
        Ident::new(
            &format!("{first}{}", rest.to_lowercase()),
            self.place.span(),
        )
    }
}

/// The signals that can be listened to.
const SIGNALS: [&str; 18] = [
    "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "CONT", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
];

/// Reads a list of signals. Those it cannot read are left out.
pub(crate) fn read_list(value: Expr, errors: &mut Errors) -> Option<Vec<Signal>> {
    let Expr::Array(ExprArray { elems, .. }) = &value else {
        let remedy =
            "write `[INT, TERM]`; for a list known only at run time, use `graceful::Config`";
        errors.add(value, "expected a list of signals", remedy);
        return None;
    };
    let mut signals: Vec<Signal> = Vec::new();
    for elem in elems {
        let Some(signal) = read(elem, errors) else {
            continue;
        };
        if signals.iter().any(|earlier| earlier.name == signal.name) {
            let rule = format!("`{}` is listed twice", signal.name);
            errors.add(signal.place, rule, "leave one out");
        } else {
            signals.push(signal);
        }
    }
    // A list of nothing but mistakes is not an empty list.
    (elems.is_empty() || !signals.is_empty()).then_some(signals)
}

fn read(elem: &Expr, errors: &mut Errors) -> Option<Signal> {
    let path = match elem {
        Expr::Path(path) => Some(&path.path),
        _ => None,
    };
    if let Some(place) = path.and_then(Path::get_ident)
        && let Some(name) = SIGNALS.into_iter().find(|name| place == name)
    {
        return Some(Signal {
            name,
            place: place.clone(),
        });
    }
    let last = path
        .and_then(|path| path.segments.last())
        .map(|segment| segment.ident.to_string());
    let name = last
        .or_else(|| string(elem).map(LitStr::value))
        .unwrap_or_default();
    let (rule, remedy) = explain(&name, &elem.to_token_stream().to_string());
    errors.add(elem, rule, remedy);
    None
}

/// Returns the rule that a name breaks, and its remedy.
fn explain(name: &str, written: &str) -> (String, String) {
    let name = name.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let written = written.replace(' ', "");
    match name {
        "KILL" | "STOP" => (
            format!("`{name}` cannot be caught"),
            "leave it out; no process is told of it".into(),
        ),
        "SEGV" | "ILL" | "FPE" | "BUS" | "ABRT" | "TRAP" | "SYS" => (
            format!("`{name}` is a fault of the process itself, not a request to it"),
            "leave it out; after a fault nothing can be drained".into(),
        ),
        "CHLD" => (
            "`CHLD` only says that a child process has ended".into(),
            "leave it out; the runtime listens to it on its own account".into(),
        ),
        "PIPE" => (
            "`PIPE` can come with every connection that its client has closed".into(),
            "leave it out; a client that goes away must not stop the server".into(),
        ),
        _ if SIGNALS.contains(&name) => (
            "a signal is written in capitals, without `SIG`, path or quotes".into(),
            format!("write `{name}` for `{written}`"),
        ),
        _ => (
            format!("unknown signal `{written}`"),
            match nearest(name, SIGNALS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the signals are {}", list(SIGNALS)),
            },
        ),
    }
}
