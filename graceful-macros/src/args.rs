//! The options as they are written: each one read on its own, so that a mistake hides no other.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, Lit, LitStr, Path, Token};

use crate::duration::{self, DurationValue};
use crate::errors::{Errors, list, nearest};
use crate::literal::string;
use crate::signal::{self, Signal};

/// What was given for each option. Rules across options are for `validate`.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) timeout: Slot<DurationValue>,
    pub(crate) signals: Slot<Vec<Signal>>,
    pub(crate) restart: Slot<Vec<Signal>>,
    pub(crate) start_timeout: Slot<DurationValue>,
    pub(crate) restart_timeout: Slot<DurationValue>,
    pub(crate) lame_duck: Slot<DurationValue>,
    pub(crate) keep_alive_grace: Slot<DurationValue>,
    pub(crate) pid_file: Slot<Expr>,
    pub(crate) ready: Slot<Manual>,
    pub(crate) flavor: Slot<Flavor>,
    pub(crate) worker_threads: Slot<Expr>,
    pub(crate) krate: Slot<Path>,
}

/// The place of one option: where it was given, and its value if that could be read.
pub(crate) struct Slot<T> {
    pub(crate) key: Option<Ident>,
    pub(crate) value: Option<T>,
}

/// Readiness is told by the program itself.
pub(crate) struct Manual;

/// The kind of tokio runtime.
pub(crate) enum Flavor {
    CurrentThread,
    MultiThread,
}

/// Every option, with a value that shows its form.
const OPTIONS: [(&str, &str); 12] = [
    ("timeout", "\"25s\""),
    ("signals", "[INT, TERM]"),
    ("restart", "[HUP]"),
    ("start_timeout", "\"5m\""),
    ("restart_timeout", "\"30s\""),
    ("lame_duck", "\"5s\""),
    ("keep_alive_grace", "\"200ms\""),
    ("pid_file", "\"/run/server.pid\""),
    ("ready", "manual"),
    ("flavor", "\"current_thread\""),
    ("worker_threads", "4"),
    ("crate", "my::graceful"),
];

impl Args {
    /// Reads the options in the attribute's parentheses.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let read_all = |input: ParseStream<'_>| {
            while !input.is_empty() {
                args.read_option(input, errors);
                end_option(input, errors);
            }
            Ok(())
        };
        // An error here is about the rest of a value that could not be read; that is known already.
        let _ = read_all.parse2(tokens);
        args
    }

    fn read_option(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        let Ok(key) = Ident::parse_any(input) else {
            let remedy = "write `timeout = \"25s\"`";
            errors.add_at(input.span(), "expected the name of an option", remedy);
            return skip_to_comma(input);
        };
        let Some((name, example)) = OPTIONS.into_iter().find(|(name, _)| key == name) else {
            let rule = format!("unknown option `{key}`");
            errors.add(&key, rule, meant(&key.to_string()));
            return skip_to_comma(input);
        };
        let remedy = format!("write `{name} = {example}`");
        if input.parse::<Token![=]>().is_err() || input.is_empty() || input.peek(Token![,]) {
            errors.add(key, format!("`{name}` needs a value after `=`"), remedy);
            return skip_to_comma(input);
        }
        match input.parse() {
            Ok(value) => self.set(key, ungroup(value), errors),
            Err(error) => {
                errors.add_at(error.span(), error, remedy);
                skip_to_comma(input);
            }
        }
    }

    fn set(&mut self, key: Ident, value: Expr, errors: &mut Errors) {
        match key.to_string().as_str() {
            "timeout" => self.timeout.fill(key, value, duration::read, errors),
            "signals" => self.signals.fill(key, value, signal::read_list, errors),
            "restart" => self.restart.fill(key, value, signal::read_list, errors),
            "start_timeout" => self.start_timeout.fill(key, value, duration::read, errors),
            "restart_timeout" => self
                .restart_timeout
                .fill(key, value, duration::read, errors),
            "lame_duck" => self.lame_duck.fill(key, value, duration::read, errors),
            "keep_alive_grace" => self
                .keep_alive_grace
                .fill(key, value, duration::read, errors),
            "pid_file" => self.pid_file.fill(key, value, read_pid_file, errors),
            "ready" => self.ready.fill(key, value, read_ready, errors),
            "flavor" => self.flavor.fill(key, value, read_flavor, errors),
            "worker_threads" => self
                .worker_threads
                .fill(key, value, read_worker_threads, errors),
            "crate" => self.krate.fill(key, value, read_crate, errors),
            _ => unreachable!("`{key}` is not in `OPTIONS`"),
        }
    }
}

impl<T> Slot<T> {
    fn fill(
        &mut self,
        key: Ident,
        value: Expr,
        read: impl FnOnce(Expr, &mut Errors) -> Option<T>,
        errors: &mut Errors,
    ) {
        let value = read(value, errors);
        if self.key.is_some() {
            errors.add(&key, format!("`{key}` is given twice"), "leave one out");
        } else {
            *self = Self {
                key: Some(key),
                value,
            };
        }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            key: None,
            value: None,
        }
    }
}

/// Says which option an unknown name was probably meant to be.
fn meant(name: &str) -> String {
    let names = || OPTIONS.into_iter().map(|(name, _)| name);
    match nearest(name, names()) {
        Some(meant) => format!("did you mean `{meant}`? The options are {}", list(names())),
        None => format!("the options are {}", list(names())),
    }
}

/// Unwraps a value that a `macro_rules!` has handed down.
fn ungroup(mut value: Expr) -> Expr {
    while let Expr::Group(group) = value {
        value = *group.expr;
    }
    value
}

/// Steps over the comma after an option. Where it was forgotten, reading goes on all the same.
fn end_option(input: ParseStream<'_>, errors: &mut Errors) {
    if input.is_empty() || input.parse::<Token![,]>().is_ok() {
        return;
    }
    let remedy = "put a comma between two options";
    errors.add_at(input.span(), "expected `,`", remedy);
    if !input.peek(Ident::peek_any) {
        skip_to_comma(input);
    }
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>().expect("a token is left");
    }
}

fn read_pid_file(value: Expr, errors: &mut Errors) -> Option<Expr> {
    match &value {
        Expr::Lit(_) if string(&value).is_some_and(|path| !path.value().is_empty()) => Some(value),
        Expr::Lit(_) => {
            let remedy = "write `pid_file = \"/run/server.pid\"`";
            errors.add(value, "`pid_file` takes a path", remedy);
            None
        }
        _ => Some(value),
    }
}

fn read_ready(value: Expr, errors: &mut Errors) -> Option<Manual> {
    if matches!(&value, Expr::Path(path) if path.path.is_ident("manual")) {
        return Some(Manual);
    }
    let rule = format!("unknown readiness `{}`", value.to_token_stream());
    let remedy = "write `ready = manual` and call `graceful::ready()`, or leave it out: ready when the servers accept";
    errors.add(value, rule, remedy);
    None
}

fn read_flavor(value: Expr, errors: &mut Errors) -> Option<Flavor> {
    match string(&value).map(LitStr::value).as_deref() {
        Some("current_thread") => Some(Flavor::CurrentThread),
        Some("multi_thread") => Some(Flavor::MultiThread),
        _ => {
            let rule = format!("unknown flavor `{}`", value.to_token_stream());
            let remedy = "write `\"multi_thread\"` or `\"current_thread\"`, with the quotes";
            errors.add(value, rule, remedy);
            None
        }
    }
}

fn read_worker_threads(value: Expr, errors: &mut Errors) -> Option<Expr> {
    match &value {
        Expr::Lit(ExprLit {
            lit: Lit::Int(count),
            ..
        }) if count.base10_parse::<usize>().is_ok_and(|count| count > 0) => Some(value),
        Expr::Lit(_) => {
            let remedy = "write `worker_threads = 4`, or leave it out for one on every core";
            errors.add(value, "`worker_threads` takes a number above zero", remedy);
            None
        }
        _ => Some(value),
    }
}

fn read_crate(value: Expr, errors: &mut Errors) -> Option<Path> {
    let path = match string(&value) {
        Some(path) => path.parse(),
        None => syn::parse2(value.to_token_stream()),
    };
    if path.is_err() {
        let remedy = "write `crate = my::graceful`";
        errors.add(value, "`crate` takes a path", remedy);
    }
    path.ok()
}
