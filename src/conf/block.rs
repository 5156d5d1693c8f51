//! The block of `nffi_runtime`: nffi's own options, and the runtime's.

use std::{ffi::c_char, ffi::c_void, fs, path::Path};

use nffi_core::{
    library,
    options::{MAX_SPIN, MAX_TASKS, MAX_TIMEOUT, OwnOptions, Settings},
    runtime::Spec,
    surroundings::Surroundings,
};
use nginx_sys::{NGX_LOG_WARN, ngx_command_t, ngx_conf_include, ngx_conf_parse, ngx_conf_t};

use super::{CONF_OK, check, conf_prefix, prefix, report, words};
use crate::{barrier::barrier, errlog};

/// What was read so far.
#[derive(Default)]
struct Block {
    settings: Settings,
    seen: Vec<String>,
    surroundings: Surroundings,
    config: Option<Vec<u8>>,
    own: OwnOptions,
}

/// Options that nffi takes for itself.
const KNOWN: [&str; 11] = [
    "queue",
    "tasks",
    "timeout",
    "stop_timeout",
    "max_request",
    "max_response",
    "spin",
    "env",
    "working_directory",
    "config",
    "config_file",
];

/// Reads the whole block and checks what it names. An empty message: it has been said already.
///
/// # Safety
/// `cf` is nginx's, inside the handler of `nffi_runtime`.
pub unsafe fn read(cf: *mut ngx_conf_t, declared: &[Spec]) -> Result<Spec, String> {
    // SAFETY: the caller's promise.
    let words = unsafe { words(cf) }?;
    let [_, name, library] = words.as_slice() else {
        return Err("\"nffi_runtime\" takes a name, a library and a block".to_owned());
    };
    if name.is_empty() || library.is_empty() {
        return Err("\"nffi_runtime\" needs a name and a library".to_owned());
    }
    if declared.iter().any(|spec| spec.name == *name) {
        return Err(format!("duplicate nffi_runtime \"{name}\""));
    }

    let mut block = Block::default();
    // SAFETY: as nginx's own blocks do: the handler is ours until the block's end, then all is as
    // it was. The block outlives the parse.
    let (parsed, end) = unsafe {
        let line = (*(*cf).conf_file).line;
        let saved = *cf;
        (*cf).handler = Some(option);
        (*cf).handler_conf = (&raw mut block).cast();
        let parsed = ngx_conf_parse(cf, std::ptr::null_mut());
        *cf = saved;
        // What is wrong with the runtime is said of the line that declares it.
        (parsed, std::mem::replace(&mut (*(*cf).conf_file).line, line))
    };
    let result = if parsed == CONF_OK { finish(cf, name, library, block, declared) } else { Err(String::new()) };
    if result.is_ok() {
        // SAFETY: as above; reading goes on behind the block.
        unsafe { (*(*cf).conf_file).line = end };
    }
    result
}

fn finish(cf: *mut ngx_conf_t, name: &str, library: &str, block: Block, declared: &[Spec]) -> Result<Spec, String> {
    let whole = |message: String| format!("nffi_runtime \"{name}\": {message}");
    if block.config.is_some() && !block.own.is_empty() {
        return Err(whole(
            "\"config\" or \"config_file\" and options of the runtime's own exclude each other".to_owned(),
        ));
    }
    let path = library::find(library, &prefix(cf)).map_err(|e| whole(e.to_string()))?;
    let exports = library::inspect(&path).map_err(|e| whole(e.to_string()))?;
    let config = block.config.unwrap_or_else(|| block.own.to_json().into_bytes());
    block.surroundings.check().map_err(whole)?;
    for other in declared {
        block.surroundings.agrees_with(&other.surroundings, &other.name).map_err(whole)?;
    }
    let Block { settings, surroundings, .. } = block;
    let spec = Spec { name: name.to_owned(), library: path, config, settings, surroundings };
    if exports.check {
        // Those of the same library before it, too: a language that lives in the process once can
        // tell whether they agree.
        let file = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = file(&spec.library);
        let mut same: Vec<_> = declared.iter().filter(|other| file(&other.library) == own).collect();
        same.push(&spec);
        check::run(&spec.library, &same).map_err(whole)?;
    }
    Ok(spec)
}

/// One line of the block.
unsafe extern "C" fn option(cf: *mut ngx_conf_t, command: *mut ngx_command_t, block: *mut c_void) -> *mut c_char {
    // SAFETY: inside a directive's handler.
    let words = unsafe { words(cf) };
    if words.as_ref().is_ok_and(|words| words.len() == 2 && words[0] == "include") {
        // As in nginx's own blocks with a handler. The handler is us again, for each line.
        // SAFETY: what nginx called us with.
        return unsafe { ngx_conf_include(cf, command, block) };
    }
    // SAFETY: set by read(), which waits for us.
    let block = unsafe { &mut *block.cast::<Block>() };
    let result = words.and_then(|words| match words.split_first() {
        Some((name, values)) => barrier(Err("internal error".to_owned()), || block.set(cf, name, values)),
        None => Ok(()),
    });
    report(cf, result)
}

impl Block {
    fn set(&mut self, cf: *mut ngx_conf_t, name: &str, values: &[String]) -> Result<(), String> {
        if !KNOWN.contains(&name) {
            if let Some(known) = KNOWN.iter().find(|known| known.len() > 3 && one_edit_apart(known, name)) {
                errlog::conf(
                    cf,
                    NGX_LOG_WARN as _,
                    format_args!("\"{name}\" is handed to the runtime as an option of its own; is \"{known}\" meant?"),
                );
            }
            self.own.add(name, values.to_vec());
            return Ok(());
        }
        if name == "env" {
            return self.surroundings.add_env(values);
        }
        let [value] = values else {
            return Err(format!("invalid number of arguments in \"{name}\": it takes one"));
        };
        if self.seen.iter().any(|seen| seen == name) {
            return Err(format!("\"{name}\" is duplicate"));
        }
        self.seen.push(name.to_owned());
        let s = &mut self.settings;
        match name {
            "queue" => s.queue = number(name, value, 1, MAX_TASKS as u64)? as usize,
            "tasks" => s.tasks = number(name, value, 1, MAX_TASKS as u64)? as usize,
            "spin" => s.spin = number(name, value, 0, MAX_SPIN)?,
            "timeout" => s.timeout = milliseconds(name, value)?,
            "stop_timeout" => s.stop_timeout = milliseconds(name, value)?,
            "max_request" => s.max_request = bytes(name, value)?,
            "max_response" => s.max_response = bytes(name, value)?,
            "working_directory" => self.surroundings.working_directory = Some(prefix(cf).join(value)),
            _ => {
                let config = if name == "config" {
                    value.clone().into_bytes()
                } else {
                    let path = conf_prefix(cf).join(value);
                    fs::read(&path).map_err(|e| format!("cannot read config_file \"{}\": {e}", path.display()))?
                };
                if self.config.replace(config).is_some() {
                    return Err("\"config\" and \"config_file\" exclude each other".to_owned());
                }
            }
        }
        Ok(())
    }
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if !value.starts_with('+') && (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("invalid value \"{value}\" in \"{name}\": a number from {least} to {most}")),
    }
}

/// nginx's times: a number of seconds, or numbers with ms, s, m, h, d.
fn milliseconds(name: &str, value: &str) -> Result<u64, String> {
    // SAFETY: ngx_parse_time reads the string only.
    let parsed = unsafe { nginx_sys::ngx_parse_time(&mut borrowed(value), 0) };
    match u64::try_from(parsed) {
        Ok(ms) if (1..=MAX_TIMEOUT).contains(&ms) => Ok(ms),
        _ => Err(format!("invalid value \"{value}\" in \"{name}\": a time from 1ms to {MAX_TIMEOUT}ms")),
    }
}

/// nginx's sizes: a number of bytes, or with k, m, g.
fn bytes(name: &str, value: &str) -> Result<usize, String> {
    // SAFETY: ngx_parse_offset reads the string only.
    let parsed = unsafe { nginx_sys::ngx_parse_offset(&mut borrowed(value)) };
    match usize::try_from(parsed) {
        Ok(size) if size <= isize::MAX as usize / 2 => Ok(size),
        _ => Err(format!("invalid value \"{value}\" in \"{name}\": a size in bytes, or with k, m, g")),
    }
}

fn borrowed(value: &str) -> nginx_sys::ngx_str_t {
    nginx_sys::ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() }
}

/// One letter more, less or other, or two neighbours swapped: a slip of the pen.
fn one_edit_apart(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    match (&a[..a.len() - back], &b[..b.len() - back]) {
        ([], [_]) | ([_], []) | ([_], [_]) => true,
        ([x, y], [v, w]) => x == w && y == v,
        _ => false,
    }
}
