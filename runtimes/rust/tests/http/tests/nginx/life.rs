//! Clients that leave or are slow, and what happens at a reload.

use std::{
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use crate::support::{Nginx, examples, wait_until};

#[test]
fn a_client_that_leaves_takes_the_future_along() {
    Nginx::each(|nginx| {
        for (n, path) in [(1, "/never"), (2, "/never-ends")] {
            let mut client = nginx.client();
            client.request("GET", path, &[], b"");
            wait_until("the handler runs", || nginx.count("begun") == n);
            assert_eq!(nginx.count("dropped"), n - 1);
            drop(client);
            wait_until("its future is dropped", || nginx.count("dropped") == n);
        }
        nginx.quit();
    });
}

/// The most that may be on its way: nginx's window, its buffers, and those of the sockets.
const ON_THE_WAY: usize = 24 << 20;

#[test]
fn a_slow_client_stops_the_app() {
    Nginx::each(|nginx| {
        let before = nginx.memory();
        let mut client = nginx.client();
        client.request("GET", "/pour", &[], b"");
        assert_eq!(client.head().status, 200);
        let mut poured = 0;
        // It stands still.
        wait_until("the app waits", || {
            let last = std::mem::replace(&mut poured, nginx.count("poured"));
            thread::sleep(std::time::Duration::from_millis(50));
            last == poured && poured > 0
        });
        assert!(poured < ON_THE_WAY, "{poured}");
        // And goes on with the client: 64 MiB, of which nothing stays.
        let mut read = vec![0; 1 << 20];
        for _ in 0..64 {
            client.0.read_exact(&mut read).unwrap();
        }
        assert!(nginx.count("poured") > 60 << 20);
        let grown = nginx.memory().saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB");
        drop(client);
        nginx.quit();
    });
}

#[test]
fn a_slow_app_stops_the_client() {
    let nginx = Nginx::start("", "");
    let before = nginx.memory();
    let body = vec![b'u'; 64 << 20];
    let answer = nginx.ask("POST", "/streamed/sip", &[], &body);
    assert_eq!(answer.pair(), (200, "sipped".to_owned()));
    assert_eq!(nginx.count("poured"), body.len());
    let grown = nginx.memory().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    nginx.quit();
}

#[test]
fn no_request_fails_while_nginx_reloads() {
    let nginx = Arc::new(Nginx::start("", ""));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (nginx, stop, asked) = (Arc::clone(&nginx), Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || {
                while !stop.load(Relaxed) {
                    // A connection for each: one that is kept may be closed at any time.
                    let close = ["Connection: close"];
                    let answer = match n {
                        0 => nginx.ask("GET", "/hello", &close, b""),
                        1 => nginx.ask("GET", "/sse", &close, b""),
                        2 => nginx.ask("POST", "/upper", &close, &[b'a'; 100_000]),
                        _ => nginx.ask("GET", "/file/text.txt", &close, b""),
                    };
                    assert!(answer.status == 200 && answer.complete, "{answer:?}");
                    asked.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..10 {
        let (old, so_far) = (nginx.workers(), asked.load(Relaxed));
        nginx.signal("HUP");
        wait_until("a new worker, and requests to it", || {
            nginx.workers().iter().any(|pid| !old.contains(pid)) && asked.load(Relaxed) > so_far + 20
        });
        wait_until("the old workers end", || !nginx.workers().iter().any(|pid| old.contains(pid)));
    }
    stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    Arc::into_inner(nginx).unwrap().quit();
}

#[test]
fn the_wrong_kind_is_refused() {
    let more = "location = /blocking { nffi_pass blocking; }
        location = /async { nffi_pass async; }
        location = /service { nffi_pass service; }
        location = /call { content_by_lua_block { ngx.say(require('resty.nffi').call('service', '')) } }";
    let runtime = |name: &str, library: &str, options: &str| {
        format!("nffi_runtime {name} {} {{ {options} }}\n", examples(library).display())
    };
    let runtimes = runtime("blocking", "nffi_test_blocking", "name x;")
        + &runtime("async", "nffi_test_async", "name x;")
        + &runtime("service", "nffi_test_service", "greeting hi;");
    let nginx = Nginx::start_with(&runtimes, "", more);
    for kind in ["blocking", "async"] {
        assert_eq!(nginx.get(&format!("/{kind}")).status, 502);
        nginx.logged(&[kind, "takes messages (nffi.call), not HTTP requests (nffi_pass)"]);
    }
    assert_eq!(nginx.text("/service"), "hi from 1 thread");
    assert_eq!(nginx.text("/call"), "nilthis runtime takes HTTP requests (nffi_pass), not messages (nffi.call)1\n");
    nginx.quit();
}

#[test]
fn options_are_checked() {
    let start = |options: &str| {
        let runtime = format!("nffi_runtime service {} {{ {options} }}", examples("nffi_test_service").display());
        Nginx::refused(&runtime)
    };
    assert!(start("greeting '';").contains("there is no greeting"), "{}", start("greeting '';"));
    assert!(start("").contains("option \"greeting\" is missing"));
    assert!(start("greeting x; more y;").contains("unknown option \"more\""));
}
