//! An nginx of a test's own, with the app in it, and clients that see every byte.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(2));
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/test rust knows where nginx is"))
}

/// Where cargo puts the tests. A copy of the library that is one folder up may be older.
fn here() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path
}

/// One of the examples, which cargo builds before it runs tests.
pub fn examples(name: &str) -> PathBuf {
    let path = here().with_file_name("examples").join(format!("lib{name}.so"));
    assert!(path.exists(), "{} is not built: cargo build --examples -p nffi -p nffi-http-tests", path.display());
    path
}

fn folder() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let dir = std::env::temp_dir().join(format!("nffi-http-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("logs")).unwrap();
    fs::create_dir_all(dir.join("files")).unwrap();
    fs::write(dir.join("files/text.txt"), "0123456789").unwrap();
    fs::write(dir.join("files/empty"), "").unwrap();
    dir
}

fn configure(dir: &Path, runtimes: &str, options: &str, server: &str) -> SocketAddr {
    // Free a moment ago: nobody else takes it that soon.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let modules: String = variable("NGINX_LUA_MODULES")
        .split_whitespace()
        .chain([&*variable("NGINX_NFFI_MODULE")])
        .map(|module| format!("load_module {module};\n"))
        .collect();
    // Where root starts it: perhaps only root may read what cargo builds.
    let user = if fs::metadata("/proc/self").unwrap().uid() == 0 { "user root;" } else { "" };
    let conf = format!(
        r#"{modules} {user}
worker_processes 1; daemon off; pid logs/pid; error_log logs/error.log info;
events {{ worker_connections 512; }}
http {{
    lua_package_path "{lua}";
    access_log logs/access.log;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    nffi_runtime app {app} {{ name one; files {dir}/files; {options} }}
    {runtimes}
    server {{
        listen {address};
        listen unix:{dir}/socket;
        location / {{ nffi_pass app; nffi_param A $arg_n; nffi_param B "b b"; }}
        location /streamed/ {{ rewrite ^/streamed(/.*)$ $1 break; nffi_pass app; nffi_request_buffering off; }}
        location = /message {{ content_by_lua_block {{ ngx.say(require("resty.nffi").call("app", "to you")) }} }}
        {server}
    }}
}}
"#,
        lua = variable("NGINX_LUA_PATH"),
        app = here().join("libnffi_http_tests.so").display(),
        dir = dir.display(),
    );
    fs::write(dir.join("nginx.conf"), conf).unwrap();
    address
}

fn command(dir: &Path) -> Command {
    // It ends with the test's thread, should that be killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(variable("NGINX_BIN")).arg("-p").arg(dir);
    command.arg("-c").arg(dir.join("nginx.conf")).args(["-e", "logs/error.log"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub struct Nginx {
    child: Child,
    pub dir: PathBuf,
    pub address: SocketAddr,
}

impl Nginx {
    /// With one thread for the app, and with several.
    pub fn each(test: impl Fn(Self)) {
        for threads in [1, 3] {
            test(Self::start(&format!("threads {threads};"), ""));
        }
    }

    /// `options` are of the runtime `app`, `server` is more of the server's block.
    pub fn start(options: &str, server: &str) -> Self {
        Self::start_with("", options, server)
    }

    /// With more runtimes.
    pub fn start_with(runtimes: &str, options: &str, server: &str) -> Self {
        let dir = folder();
        let address = configure(&dir, runtimes, options, server);
        let child = command(&dir).spawn().unwrap();
        let nginx = Self { child, dir, address };
        wait_until("nginx listens", || TcpStream::connect(nginx.address).is_ok());
        // The worker is there, and the app in it.
        assert_eq!(nginx.text("/hello"), "hello\n");
        nginx
    }

    /// What `nginx -t` says against a runtime.
    pub fn refused(runtime: &str) -> String {
        let dir = folder();
        configure(&dir, runtime, "", "");
        let output = command(&dir).arg("-t").stderr(Stdio::piped()).output().unwrap();
        let _ = fs::remove_dir_all(&dir);
        assert!(!output.status.success(), "nginx -t accepts {runtime}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn text(&self, path: &str) -> String {
        let answer = self.get(path);
        assert!(answer.status == 200 && answer.complete, "{answer:?}");
        answer.text()
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.client().ask(method, path, headers, body)
    }

    /// The number after a word of `/counts`.
    pub fn count(&self, word: &str) -> usize {
        let text = self.text("/counts");
        let mut words = text.split(' ');
        words.find(|found| *found == word).unwrap();
        words.next().unwrap().parse().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("logs/error.log")).unwrap()
    }

    /// A line of the log that has all of these; waits for it.
    pub fn logged(&self, parts: &[&str]) -> String {
        let mut found = None;
        wait_until(&format!("a line in the log with {parts:?}:\n{}", self.log()), || {
            found = self.log().lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    /// The workers' processes.
    pub fn workers(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Resident memory of the worker, in KiB.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.workers()[0])).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends it in order: all that was begun is finished, and nothing bad was said.
    pub fn quit(mut self) {
        self.signal("QUIT");
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "nginx does not end:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
        let log = self.log();
        for bad in ["[alert]", "[emerg]", "has ended already", "did not stop", "exited on signal"] {
            assert!(!log.contains(bad), "{bad} in the log:\n{log}");
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Workers would outlive a master that is killed.
        let workers = self.workers();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in workers {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        if std::thread::panicking() {
            eprintln!("the log of nginx:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub struct Client(pub BufReader<TcpStream>);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// It came to its end, and was not cut.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| &*header.1)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and text of a whole answer.
    pub fn pair(&self) -> (u16, String) {
        assert!(self.complete, "{self:?}");
        (self.status, self.text())
    }
}

impl Client {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// `headers` have no line ends; a length is added.
    pub fn request(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for header in headers {
            head += header;
            head += "\r\n";
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send([head.as_bytes(), b"\r\n", body].concat());
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.request(method, path, headers, body);
        self.answer(method == "HEAD")
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    fn headers(&mut self) -> Option<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(headers);
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Only the head of an answer.
    pub fn head(&mut self) -> Answer {
        let line = self.line().expect("an answer");
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let headers = self.headers().expect("headers");
        Answer { status, headers, body: Vec::new(), trailers: Vec::new(), complete: false }
    }

    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.line()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(Vec::new());
        }
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        Some(chunk)
    }

    pub fn answer(&mut self, head_only: bool) -> Answer {
        let mut answer = self.head();
        if head_only || matches!(answer.status, 204 | 304) {
            answer.complete = true;
        } else if let Some(length) = answer.header("content-length") {
            let length: u64 = length.parse().unwrap();
            answer.complete =
                (&mut self.0).take(length).read_to_end(&mut answer.body).is_ok_and(|n| n as u64 == length);
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                if chunk.is_empty() {
                    if let Some(trailers) = self.headers() {
                        (answer.trailers, answer.complete) = (trailers, true);
                    }
                    break;
                }
                answer.body.extend_from_slice(&chunk);
            }
        } else {
            answer.complete = self.0.read_to_end(&mut answer.body).is_ok();
        }
        answer
    }
}

/// What is sent as a file.
pub fn file_of(nginx: &Nginx, name: &str) -> PathBuf {
    Path::new(&nginx.dir).join("files").join(name)
}
