//! Declarations read out of text, C's and Rust's, in one form: C types without needless blanks.
//! Reads what this project writes, not all of either language.

use std::collections::BTreeMap;

/// Type and name, in their order.
pub type Fields = Vec<(String, String)>;

/// What two sides have to agree on, by C name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub structs: BTreeMap<String, Fields>,
    /// Types of the arguments, then of the result.
    pub functions: BTreeMap<String, Vec<String>>,
}

/// The C that a Lua file hands to ffi.cdef.
pub fn from_c(lua: &str) -> Declared {
    let cdef = lua.split("ffi.cdef [[").nth(1).and_then(|rest| rest.split("]]").next()).expect("a cdef");
    let mut declared = Declared::default();
    let mut rest = cdef;
    while let Some(at) = rest.find(|c: char| !c.is_whitespace()) {
        rest = &rest[at..];
        if let Some(body) = rest.strip_prefix("typedef struct {") {
            let (fields, after) = body.split_once('}').expect("the end of a struct");
            let (name, after) = after.split_once(';').expect("a name for the struct");
            declared.structs.insert(name.trim().to_owned(), fields.split(';').flat_map(c_field).collect());
            rest = after;
        } else {
            let (prototype, after) = rest.split_once(';').expect("the end of a prototype");
            let (head, arguments) = prototype.split_once('(').expect("arguments");
            let (result, name) = c_variable(head);
            let mut types: Vec<String> =
                arguments.trim_end_matches(')').split(',').map(|argument| c_variable(argument).0).collect();
            types.push(result);
            declared.functions.insert(name, types);
            rest = after;
        }
    }
    declared
}

/// `double a, b`: two fields of one type.
fn c_field(statement: &str) -> Fields {
    let mut names = statement.split(',').map(str::trim);
    let Some(first) = names.next().filter(|first| !first.is_empty()) else { return Vec::new() };
    let (kind, name) = c_variable(first);
    let mut fields = vec![(kind.clone(), name)];
    fields.extend(names.map(|name| (kind.clone(), name.to_owned())));
    fields
}

/// `const char  *name`: ("const char *", "name").
fn c_variable(text: &str) -> (String, String) {
    let text = text.trim();
    let at = text.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).expect("a type before a name") + 1;
    let kind = text[..at].split_whitespace().collect::<Vec<_>>().join(" ").replace('*', " *").replace("  ", " ");
    (kind, text[at..].to_owned())
}

/// The Rust of the functions `ngx_http_nffi_lua_*`, and of the structures that they take.
pub fn from_rust(source: &str) -> Declared {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        });
    let mut declared = Declared::default();
    for item in code.split("#[repr(C)]\n").skip(1) {
        let Some((head, rest)) = item.split_once('{') else { continue };
        let Some(c_name) = head.trim().strip_prefix("pub struct ").and_then(c_struct) else { continue };
        let body = rest.split('}').next().unwrap_or_default();
        let fields = body.split(',').filter_map(|field| field.split_once(':'));
        let fields = fields.map(|(name, kind)| (c_type(kind), name.trim().to_owned())).collect();
        declared.structs.insert(c_name.to_owned(), fields);
    }
    for item in code.split("#[unsafe(no_mangle)]\n").skip(1) {
        let (head, rest) = item.split_once('(').expect("a function");
        let Some(name) = head.strip_prefix("unsafe extern \"C\" fn ") else { continue };
        let (arguments, rest) = rest.split_once(')').expect("the end of the arguments");
        let result = rest.split('{').next().unwrap_or_default().trim();
        let mut types: Vec<String> = arguments
            .split(',')
            .filter_map(|argument| argument.split_once(':'))
            .map(|(_, kind)| c_type(kind))
            .collect();
        types.push(result.strip_prefix("->").map_or("void".to_owned(), c_type));
        declared.functions.insert(name.to_owned(), types);
    }
    declared
}

/// The C name of a Rust structure.
fn c_struct(rust: &str) -> Option<&'static str> {
    Some(match rust {
        "Reply" => "ngx_http_nffi_lua_reply_t",
        "LuaSettings" => "ngx_http_nffi_lua_settings_t",
        "LuaStats" => "ngx_http_nffi_lua_stats_t",
        "LuaStream" => "ngx_http_nffi_lua_stream_t",
        _ => return None,
    })
}

fn c_type(rust: &str) -> String {
    let rust = rust.trim();
    if let Some(to) = rust.strip_prefix("*const ") {
        return format!("const {} *", c_type(to));
    }
    if let Some(to) = rust.strip_prefix("*mut ") {
        return format!("{} *", c_type(to));
    }
    match rust {
        "c_char" => "char",
        "c_int" => "int",
        "f64" => "double",
        "u32" => "uint32_t",
        "usize" => "size_t",
        // A request is Lua's to hand over, not to look into.
        "ngx_http_request_t" | "c_void" => "void",
        other => c_struct(other).unwrap_or(other),
    }
    .to_owned()
}
