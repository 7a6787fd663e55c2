//! The syntax of `#[graceful::main]`.
//!
//! Use the [`graceful-runtime`](https://docs.rs/graceful-runtime) crate, which re-exports the
//! attribute and documents its options. This crate only writes down what they ask for: the
//! expansion is one call into the runtime.

#![forbid(unsafe_code)]

mod args;
mod entry;
mod expand;
mod recover;
mod validate;

mod duration;
mod signal;

mod errors;
mod literal;

#[cfg(test)]
mod tests;

use args::Args;
use entry::Entry;
use errors::Errors;
use proc_macro2::TokenStream;

/// Runs an `async fn main` as a server that stops and restarts without losing a request.
#[proc_macro_attribute]
pub fn main(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    lower(args.into(), item.into()).into()
}

fn lower(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let plan = validate::options(Args::parse(args, &mut errors), &mut errors);
    let Some(entry) = Entry::read(item.clone(), &mut errors) else {
        return recover::item(errors, &item);
    };
    validate::function(&entry, &mut errors);
    if errors.is_empty() {
        expand::main(entry, &plan)
    } else {
        recover::main(errors, entry, &plan)
    }
}
