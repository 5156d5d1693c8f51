//! The fake host: a journal of what was asked of it, and a script of what it says.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    ffi::c_int,
    mem,
};

/// What a function is to say when it is next called.
#[derive(Debug, Clone)]
pub enum Say {
    /// Success, and nothing else.
    Done,
    /// Success with a number: of a runtime (find, load), of a sleeping call (call).
    Number(c_int),
    /// Success with bytes: an answer, or a piece of one.
    Data(Vec<u8>),
    /// The coroutine must yield.
    Yield,
    /// Failure, in words of nffi's own.
    Own(&'static str),
    /// Failure, by the runtime: its status and message.
    Runtime(c_int, Vec<u8>),
    /// call: any number, the request is kept; take: the request that was kept.
    Echo,
}

/// What `ngx_http_nffi_lua_stats` says of one runtime.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub name: Vec<u8>,
    pub library: Vec<u8>,
    pub error: Vec<u8>,
    pub state: c_int,
    pub declared: c_int,
    /// In the structure's order, from `queued` on.
    pub counts: [f64; 12],
}

#[derive(Debug, Default)]
pub(crate) struct Host {
    pub journal: Vec<String>,
    script: BTreeMap<&'static str, VecDeque<Say>>,
    always: BTreeMap<&'static str, Say>,
    pub runtimes: Vec<Facts>,
    /// What ngx_lua would find with the coroutine; 0: no request.
    pub request: usize,
    /// Serials of the streams that are open, and the last one given.
    pub open: Vec<u32>,
    pub serial: u32,
    pub kept: BTreeMap<u32, Vec<u8>>,
    pub last_owner: u32,
    answer: Vec<u8>,
    words: Vec<u8>,
    spent: Vec<Vec<u8>>,
}

impl Host {
    /// What to say to a call of that function.
    pub fn says(&mut self, function: &'static str) -> Say {
        let scripted = self.script.get_mut(function).and_then(VecDeque::pop_front);
        scripted.or_else(|| self.always.get(function).cloned()).unwrap_or(Say::Own("the test has scripted nothing"))
    }

    /// Keeps bytes as the module does: an answer until the next answer, words until the next words.
    /// What was kept before is spoilt, so that whoever looks at it too late is found out.
    pub fn keep(&mut self, bytes: Vec<u8>, own: bool) -> &[u8] {
        let kept = if own { &mut self.words } else { &mut self.answer };
        let mut old = mem::replace(kept, bytes);
        old.fill(b'#');
        self.spent.push(old);
        kept
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

pub(crate) fn with<T>(f: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(f)
}

/// Forgets everything: a new test begins.
pub(crate) fn reset() {
    with(|host| *host = Host::default());
}

/// The request that coroutines run for.
pub(crate) fn request(address: usize) {
    with(|host| host.request = address);
}

/// Scripts the next reply of a function (its name without `ngx_http_nffi_lua_`).
pub fn will(function: &'static str, say: Say) {
    with(|host| host.script.entry(function).or_default().push_back(say));
}

/// Scripts all replies of a function that are not scripted one by one.
pub fn always(function: &'static str, say: Say) {
    with(|host| host.always.insert(function, say));
}

/// The runtimes that stats tells of.
pub fn runtimes(list: Vec<Facts>) {
    with(|host| host.runtimes = list);
}

/// Writes a line of the test's own into the journal.
pub fn note(line: &str) {
    with(|host| host.journal.push(line.to_owned()));
}

/// What has happened since the last look.
pub fn journal() -> Vec<String> {
    with(|host| mem::take(&mut host.journal))
}

/// What was scripted one by one and has not been said.
pub fn unsaid() -> Vec<(&'static str, Say)> {
    with(|host| {
        mem::take(&mut host.script).into_iter().flat_map(|(f, says)| says.into_iter().map(move |s| (f, s))).collect()
    })
}
