//! The attribute macros of the crate `nffi`.

mod service;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{Error, FnArg, ItemFn, parse_macro_input, spanned::Spanned};

/// Makes a runtime library of a function. See the crate `nffi`.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let export = if arguments.is_empty() {
        export(&function)
    } else {
        let arguments = Tokens::from(arguments);
        Err(Error::new(arguments.span(), "#[nffi::handler] takes no arguments; options need a Service"))
    };
    let export = export.unwrap_or_else(Error::into_compile_error);
    quote!(#function #export).into()
}

/// Makes a runtime library of an app for HTTP. See the crate `nffi`.
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let export = service::export(arguments.into(), &function).unwrap_or_else(Error::into_compile_error);
    quote!(#function #export).into()
}

/// The service of the function's own, and its export; or what is wrong with the function.
fn export(function: &ItemFn) -> Result<Tokens, Error> {
    let signature = &function.sig;
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        return Err(Error::new(receiver.span(), "a handler is a function, not a method; state needs a Service"));
    }
    if signature.inputs.len() != 1 {
        let message = "a handler takes one argument: the request, as &[u8], &str or &Request";
        return Err(Error::new(signature.paren_token.span.join(), message));
    }
    if let Some(parameter) = signature.generics.type_params().next() {
        return Err(Error::new(parameter.span(), "a handler cannot be generic: nobody would choose the type"));
    }
    if let Some(unsafety) = &signature.unsafety {
        return Err(Error::new(
            unsafety.span(),
            "a handler cannot be unsafe: its caller is not the one to keep promises",
        ));
    }

    let name = &signature.ident;
    let (service, request, export) = if signature.asyncness.is_some() {
        (quote!(::nffi::aio::Service), quote!(::nffi::aio::Request), quote!(::nffi::export_async!(Handler);))
    } else {
        (quote!(::nffi::Service), quote!(::nffi::Request), quote!(::nffi::export!(Handler);))
    };
    let (asyncness, dot_await) = match signature.asyncness {
        Some(asyncness) => (quote!(#asyncness), quote!(.await)),
        None => (quote!(), quote!()),
    };
    let argument =
        if signature.asyncness.is_some() { format_ident!("argument_async") } else { format_ident!("argument") };
    // The call takes the function's span, so that a wrong type is shown where it was written.
    let call = quote::quote_spanned!(signature.inputs.span()=> #name(::nffi::__private::#argument(request)#dot_await?));
    Ok(quote! {
        const _: () = {
            struct Handler;

            impl #service for Handler {
                type Config = ::nffi::config::NoOptions;
                type Error = ::nffi::Error;

                #asyncness fn new(_: Self::Config, _: &::nffi::Context) -> ::core::result::Result<Self, ::nffi::Error> {
                    Ok(Self)
                }

                #asyncness fn handle(
                    &self,
                    request: &#request,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::nffi::Error> {
                    ::nffi::__private::outcome(#call #dot_await)
                }
            }

            #export
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(function: &str) -> Result<String, String> {
        let function = syn::parse_str(function).unwrap();
        export(&function).map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn functions_and_async_functions() {
        let blocking = exported("fn f(request: &[u8]) -> Vec<u8> { request.to_vec() }").unwrap();
        assert!(blocking.contains("impl :: nffi :: Service for Handler") && !blocking.contains("await"), "{blocking}");
        let later = exported("async fn f(request: &[u8]) -> Vec<u8> { request.to_vec() }").unwrap();
        assert!(later.contains("impl :: nffi :: aio :: Service for Handler") && later.contains("await"), "{later}");
    }

    #[test]
    fn what_cannot_be_a_handler_is_told() {
        for (function, message) in [
            ("fn f() {}", "one argument"),
            ("fn f(a: &[u8], b: &[u8]) {}", "one argument"),
            ("fn f(&self) {}", "not a method"),
            ("fn f<T>(request: T) {}", "cannot be generic"),
            ("unsafe fn f(request: &[u8]) {}", "cannot be unsafe"),
        ] {
            let error = exported(function).unwrap_err();
            assert!(error.contains(message), "{function}: {error}");
        }
    }
}
