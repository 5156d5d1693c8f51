//! include/nffi.h as this machine's C compiler lays it out, against the Rust side of it.

#![allow(clippy::expect_used)]

mod support;

use std::{collections::BTreeMap, fmt::Write, fs, mem::offset_of, path::Path, process::Command};

use nffi_core::abi;

/// Expands to the lines of the C program, and to the same facts as Rust has them.
macro_rules! layouts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {{
        let mut c = String::new();
        let mut rust = BTreeMap::new();
        $(
            let name = stringify!($name);
            writeln!(c, "    printf(\"{name} %zu\\n\", sizeof({name}));").expect("a string");
            rust.insert(name.to_owned(), size_of::<abi::$name>());
            $(
                let field = stringify!($field);
                writeln!(c, "    printf(\"{name}.{field} %zu\\n\", offsetof({name}, {field}));").expect("a string");
                rust.insert(format!("{name}.{field}"), offset_of!(abi::$name, $field));
            )*
        )*
        (c, rust)
    }};
}

macro_rules! constants {
    ($c:ident, $rust:ident, $($name:ident),* $(,)?) => {$(
        let name = stringify!($name);
        writeln!($c, "    printf(\"{name} %zu\\n\", (size_t)(long)({name}));").expect("a string");
        $rust.insert(name.to_owned(), abi::$name as i64 as usize);
    )*};
}

#[test]
fn c_and_rust_agree() {
    let (mut c, mut rust) = layouts! {
        nffi_event { kind, flags, task, data, len, deadline }
        nffi_answer { task, status, flags, data, len, result, reserved }
        nffi_str { data, len }
        nffi_header { name, value }
        nffi_http_request {
            size, flags, version, client_port, server_port, method, raw_path, path, query, prefix, scheme, client_addr,
            server_addr, server_name, headers, headers_len, params, params_len, content_length, body_fd, reserved,
        }
        nffi_host {
            abi, size, poll, poll_fd, reply, write, read, reply_many, end, cancelled, log, stopped, alloc, release, http,
            http_head, http_file, http_trailers,
        }
    };
    constants!(
        c,
        rust,
        NFFI_ABI,
        NFFI_CALL,
        NFFI_HTTP,
        NFFI_READABLE,
        NFFI_WRITABLE,
        NFFI_CANCEL,
        NFFI_STOP,
        NFFI_MORE,
        NFFI_PIECES,
        NFFI_CAST,
        NFFI_OK,
        NFFI_FULL,
        NFFI_AGAIN,
        NFFI_EOF,
        NFFI_GONE,
        NFFI_BAD,
        NFFI_LOG_EMERG,
        NFFI_LOG_DEBUG,
        NFFI_HTTP_UPGRADE,
        NFFI_HTTP_BODY,
        NFFI_HTTP_TLS,
    );
    assert_eq!(rust["nffi_event"], 40, "for ever");
    assert_eq!(rust["nffi_answer"], 40, "for ever");

    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (dir.join("layout.c"), dir.join("layout"));
    let text = format!("#include <stdio.h>\n#include \"nffi.h\"\n\nint main(void)\n{{\n{c}    return 0;\n}}\n");
    fs::write(&source, text).expect("write");
    support::compile(&[], &source, &program);
    let output = Command::new(&program).output().expect("run");
    let said = String::from_utf8(output.stdout).expect("text");
    let said: BTreeMap<String, usize> = said
        .lines()
        .map(|line| line.split_once(' ').expect("name and number"))
        .map(|(name, number)| (name.to_owned(), number.parse().expect("a number")))
        .collect();
    assert_eq!(said, rust);
}

/// The table grows at its end only: these places are taken for ever.
#[test]
fn the_table_keeps_its_order() {
    let pointers = [
        offset_of!(abi::nffi_host, poll),
        offset_of!(abi::nffi_host, poll_fd),
        offset_of!(abi::nffi_host, reply),
        offset_of!(abi::nffi_host, write),
        offset_of!(abi::nffi_host, read),
        offset_of!(abi::nffi_host, reply_many),
        offset_of!(abi::nffi_host, end),
        offset_of!(abi::nffi_host, cancelled),
        offset_of!(abi::nffi_host, log),
        offset_of!(abi::nffi_host, stopped),
        offset_of!(abi::nffi_host, alloc),
        offset_of!(abi::nffi_host, release),
        offset_of!(abi::nffi_host, http),
        offset_of!(abi::nffi_host, http_head),
        offset_of!(abi::nffi_host, http_file),
        offset_of!(abi::nffi_host, http_trailers),
    ];
    for (i, offset) in pointers.into_iter().enumerate() {
        assert_eq!(offset, 8 + 8 * i);
    }
    let table = nffi_core::host::table();
    assert_eq!((table.abi, table.size as usize), (abi::NFFI_ABI, size_of::<abi::nffi_host>()));
    assert!(table.http.is_some() && table.http_head.is_some());
    assert!(table.http_file.is_some() && table.http_trailers.is_some());
}
