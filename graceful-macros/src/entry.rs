//! The annotated function. Its body stays tokens, so that a half-typed one expands as well.

use proc_macro2::{Group, Span, TokenStream};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, ReturnType, Safety, Signature, Visibility};

use crate::errors::Errors;

/// The function under the attribute.
pub(crate) struct Entry {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Group,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl Entry {
    pub(crate) fn read(item: TokenStream, errors: &mut Errors) -> Option<Self> {
        syn::parse2(item)
            .map_err(|error| {
                let remedy = "write it above `async fn main() { … }`";
                let rule = "`#[graceful::main]` belongs on a function";
                errors.add_at(error.span(), rule, remedy);
            })
            .ok()
    }

    /// Whether safe code can call it without a choice of arguments and types.
    pub(crate) fn is_callable(&self) -> bool {
        let Signature {
            safety,
            generics,
            inputs,
            ..
        } = &self.signature;
        matches!(safety, Safety::Default) && generics.params.is_empty() && inputs.is_empty()
    }

    /// Returns where the return type starts and ends, or the name where none is written.
    ///
    /// The call that runs the server is placed there: if what the function returns is no server,
    /// the compiler says so at that place.
    pub(crate) fn return_place(&self) -> (Span, Span) {
        let place = match &self.signature.output {
            ReturnType::Default => self.signature.ident.to_token_stream(),
            ReturnType::Type(_, ty) => ty.to_token_stream(),
        };
        let start = place.span();
        let end = place.into_iter().last().map_or(start, |token| token.span());
        (start, end)
    }
}

/// Whether the attribute starts a runtime as this one does, such as `#[tokio::main]`.
pub(crate) fn starts_runtime(attr: &Attribute) -> bool {
    let segments = &attr.path().segments;
    segments.len() > 1 && segments[segments.len() - 1].ident == "main"
}

/// Whether the attribute describes the item or sets its lints, as opposed to transforming it.
pub(crate) fn describes_item(attr: &Attribute) -> bool {
    const DESCRIBING: [&str; 7] = ["allow", "cfg", "deny", "doc", "expect", "forbid", "warn"];
    DESCRIBING.iter().any(|name| attr.path().is_ident(name))
}
