//! The expansion: the function as it was written, inside one that runs it.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::{
    GenericArgument, PathArguments, PathSegment, ReturnType, Type, TypeParamBound, parse_quote,
};

use crate::entry::{Entry, describes_item};
use crate::validate::{Plan, Setting};

/// Emits the function and the call that runs it.
pub(crate) fn main(entry: Entry, plan: &Plan) -> TokenStream {
    let run = run(&entry, plan);
    wrap(entry, &run)
}

/// Emits the function with `result` as what the process ends with.
pub(crate) fn wrap(mut entry: Entry, result: &TokenStream) -> TokenStream {
    if let ReturnType::Type(_, ty) = &mut entry.signature.output {
        require_send(ty);
    }
    let Entry {
        attrs,
        vis,
        signature,
        body,
    } = entry;
    let name = &signature.ident;
    let (outer, inner): (Vec<_>, Vec<_>) = attrs.into_iter().partition(describes_item);
    quote! {
        #(#outer)*
        #vis fn #name() -> ::std::process::ExitCode {
            #(#inner)*
            #[allow(clippy::unused_async)]
            #signature #body

            #result
        }
    }
}

fn run(entry: &Entry, plan: &Plan) -> TokenStream {
    let krate = &plan.krate;
    let config = plan
        .settings
        .iter()
        .map(|Setting { method, argument }| quote!(.#method(#argument)));
    let config = quote!(#krate::Config::new() #(#config)*);
    // If what the function returns is no server, the compiler says so where this call is. It is
    // only located there: were it resolved there as well, it would be linted as the user's code.
    let (start, end) = entry.return_place();
    let start = Span::call_site().located_at(start);
    let end = Span::call_site().located_at(end);
    let name = &entry.signature.ident;
    let run = move_to(start, quote!(#krate::__private::run));
    let arguments = quote_spanned!(end=> (#name(), #config));
    quote!(#run #arguments)
}

fn move_to(place: Span, tokens: TokenStream) -> TokenStream {
    let move_token = |mut token: TokenTree| {
        token.set_span(place);
        token
    };
    tokens.into_iter().map(move_token).collect()
}

/// Adds `IntoFuture: Send` to every `impl IntoFuture<…>` that does not say what its future is.
///
/// The compiler sees through an `impl Trait` whether the hidden type is `Send`, but not whether
/// that type's future is.
fn require_send(ty: &mut Type) {
    match ty {
        Type::ImplTrait(ty) => ty.bounds.iter_mut().for_each(require_send_in_bound),
        Type::Path(ty) => ty.path.segments.iter_mut().for_each(require_send_within),
        Type::Tuple(ty) => ty.elems.iter_mut().for_each(require_send),
        Type::Array(ty) => require_send(&mut ty.elem),
        Type::Group(ty) => require_send(&mut ty.elem),
        Type::Paren(ty) => require_send(&mut ty.elem),
        _ => {}
    }
}

fn require_send_in_bound(bound: &mut TypeParamBound) {
    if let TypeParamBound::Trait(bound) = bound {
        bound.path.segments.iter_mut().for_each(require_send_within);
        if let Some(last) = bound.path.segments.last_mut() {
            require_send_of_future(last);
        }
    }
}

fn require_send_within(segment: &mut PathSegment) {
    if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
        for argument in &mut arguments.args {
            match argument {
                GenericArgument::Type(ty) => require_send(ty),
                GenericArgument::AssocType(assoc) => require_send(&mut assoc.ty),
                _ => {}
            }
        }
    }
}

fn require_send_of_future(bound: &mut PathSegment) {
    if bound.ident != "IntoFuture" {
        return;
    }
    match &mut bound.arguments {
        PathArguments::AngleBracketed(arguments) => {
            if !arguments.args.iter().any(names_future) {
                arguments
                    .args
                    .push(parse_quote!(IntoFuture: ::core::marker::Send));
            }
        }
        arguments => {
            *arguments =
                PathArguments::AngleBracketed(parse_quote!(<IntoFuture: ::core::marker::Send>));
        }
    }
}

fn names_future(argument: &GenericArgument) -> bool {
    match argument {
        GenericArgument::AssocType(assoc) => assoc.ident == "IntoFuture",
        GenericArgument::Constraint(constraint) => constraint.ident == "IntoFuture",
        _ => false,
    }
}
