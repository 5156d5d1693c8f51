//! The attribute `service`: a library of a function that makes an app.

use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Error, Expr, FnArg, ItemFn, MetaNameValue, ReturnType, Type, spanned::Spanned};

/// What a library exports; or what is wrong with the function.
pub fn export(arguments: Tokens, function: &ItemFn) -> Result<Tokens, Error> {
    let check = check(arguments)?;
    let signature = &function.sig;
    let mut types = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                return Err(Error::new(receiver.span(), "a service is made by a function, not by a method"));
            }
            FnArg::Typed(argument) => types.push(&*argument.ty),
        }
    }
    if let Some(parameter) = signature.generics.type_params().next() {
        return Err(Error::new(parameter.span(), "it cannot be generic: nobody would choose the type"));
    }
    if let Some(unsafety) = &signature.unsafety {
        return Err(Error::new(unsafety.span(), "it cannot be unsafe: its caller is not the one to keep promises"));
    }
    if let Some(Type::Reference(reference)) = types.first() {
        return Err(Error::new(reference.span(), "the options are taken by value"));
    }

    let name = &signature.ident;
    let dot_await = signature.asyncness.map(|_| quote!(.await));
    let no_options = quote!(::nffi::config::NoOptions);
    let (config, call) = match types[..] {
        [] => (no_options, quote!(#name())),
        [config] => (quote!(#config), quote!(#name(config))),
        [config, _] => (quote!(#config), quote!(#name(config, &context))),
        _ => {
            let message = "it takes its options, and a &nffi::Context after them; or nothing";
            return Err(Error::new(signature.paren_token.span.join(), message));
        }
    };
    let made = if returns_result(&signature.output) {
        quote!(::nffi::__private::made(#call #dot_await))
    } else {
        quote!(::core::result::Result::<_, ::nffi::Error>::Ok(#call #dot_await))
    };
    // The call takes the function's span, so that a type that is no app is shown where it was written.
    let make = quote::quote_spanned!(signature.output.span()=> async |config: #config, context: ::nffi::Context| {
        let (_, _) = (&config, &context);
        #made
    });
    let check = check
        .map_or_else(|| quote!(::core::result::Result::<(), ::nffi::Error>::Ok(())), |check| quote!(#check(config)));
    Ok(quote! {
        const _: () = {
            /// # Safety
            /// As include/nffi.h says.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn nffi_runtime_init_v1(
                host: *const ::nffi::__private::nffi_host,
                queue: u64,
                cfg: *const ::core::ffi::c_char,
                len: usize,
                err: *mut ::core::ffi::c_char,
                err_cap: usize,
            ) -> ::core::ffi::c_int {
                // SAFETY: as the host promises.
                unsafe { ::nffi::__private::init_http(host, queue, cfg, len, err, err_cap, #make) }
            }

            /// # Safety
            /// As include/nffi.h says.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn nffi_runtime_check_v1(
                cfg: *const ::core::ffi::c_char,
                len: usize,
                err: *mut ::core::ffi::c_char,
                err_cap: usize,
            ) -> ::core::ffi::c_int {
                // SAFETY: as the host promises.
                unsafe {
                    ::nffi::__private::check_http(cfg, len, err, err_cap, |config: &#config| {
                        let _ = config;
                        #check
                    })
                }
            }
        };
    })
}

/// The function of `check = function`.
fn check(arguments: Tokens) -> Result<Option<Expr>, Error> {
    if arguments.is_empty() {
        return Ok(None);
    }
    let span = arguments.span();
    let wrong = |_| Error::new(span, "#[nffi::service] takes check = function, or nothing");
    let argument: MetaNameValue = syn::parse2(arguments).map_err(wrong)?;
    if !argument.path.is_ident("check") {
        return Err(wrong(Error::new(span, "")));
    }
    Ok(Some(argument.value))
}

/// By its name: there is no other way for a macro to know.
fn returns_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, output) = output else { return false };
    matches!(&**output, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Result"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(arguments: &str, function: &str) -> Result<String, String> {
        let (arguments, function) = (arguments.parse().unwrap(), syn::parse_str(function).unwrap());
        export(arguments, &function).map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn with_and_without_options() {
        let plain = exported("", "fn app() -> Router { Router::new() }").unwrap();
        assert!(plain.contains("Ok (app ())") && plain.contains("NoOptions"), "{plain}");
        let whole = exported(
            "check = look",
            "async fn app(config: Config, context: &nffi::Context) -> anyhow::Result<Router> { todo!() }",
        )
        .unwrap();
        assert!(whole.contains("made (app (config , & context) . await)"), "{whole}");
        assert!(whole.contains("look (config)"), "{whole}");
    }

    #[test]
    fn what_cannot_make_an_app_is_told() {
        for (arguments, function, message) in [
            ("", "fn f(&self) {}", "not by a method"),
            ("", "fn f(a: A, b: &B, c: C) {}", "takes its options"),
            ("", "fn f(a: &A) {}", "by value"),
            ("", "fn f<T>(a: T) {}", "cannot be generic"),
            ("", "unsafe fn f() {}", "cannot be unsafe"),
            ("threads = 3", "fn f() {}", "takes check = function"),
            ("check", "fn f() {}", "takes check = function"),
        ] {
            let error = exported(arguments, function).unwrap_err();
            assert!(error.contains(message), "{function}: {error}");
        }
    }
}
