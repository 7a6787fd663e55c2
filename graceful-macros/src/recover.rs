//! What is emitted after a mistake: a function all the same, or its absence would be one more.

use proc_macro2::TokenStream;
use quote::quote;

use crate::entry::{Entry, starts_runtime};
use crate::errors::Errors;
use crate::expand;
use crate::validate::Plan;

/// Emits the mistakes, and the function with the options that could be read.
pub(crate) fn main(errors: Errors, mut entry: Entry, plan: &Plan) -> TokenStream {
    let errors = errors.into_iter().map(syn::Error::into_compile_error);
    // Each `.await` would be an error outside of an `async fn`.
    entry
        .signature
        .asyncness
        .get_or_insert_with(Default::default);
    entry.attrs.retain(|attr| !starts_runtime(attr));
    let main = if entry.is_callable() {
        expand::main(entry, plan)
    } else {
        entry.attrs.push(syn::parse_quote!(#[allow(dead_code)]));
        expand::wrap(entry, &quote!(::std::process::ExitCode::FAILURE))
    };
    quote!(#(#errors)* #main)
}

/// Emits the mistakes, and an item that is no function as it came.
pub(crate) fn item(errors: Errors, item: &TokenStream) -> TokenStream {
    let errors = errors.into_iter().map(syn::Error::into_compile_error);
    quote!(#(#errors)* #item)
}
