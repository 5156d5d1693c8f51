//! An example runtime that waits for others: it asks HTTP servers, any number at a time, on one
//! thread.
//!
//! A request is a URL, or JSON: `{"url":"http://…","method":"POST","headers":{"x":"1"},"body":"…"}`.
//! The answer is the server's body, in pieces as they come for whoever takes pieces. What goes wrong
//! is an error with a status of HTTP's:
//!
//! | status | when |
//! |---|---|
//! | 400 | the request makes no sense |
//! | 403 | `allow` does not name the server |
//! | 502 | no connection, or a broken one; or the body is larger than `max_body` |
//! | 504 | the server was silent for longer than `read_timeout`, or did not accept in `connect_timeout` |
//! | 4xx, 5xx of the server's | it said so |
//!
//! Plain HTTP only: for https enable a TLS feature of reqwest in Cargo.toml. Redirects are errors
//! with the server's status: where they lead is the caller's to decide.

mod question;

use std::time::Duration;

use nffi::{
    Context, Error,
    aio::{Request, Service},
    config::{List, Size},
};
use reqwest::{Client, redirect::Policy};

use question::Question;

const BAD_GATEWAY: i32 = 502;
const GATEWAY_TIMEOUT: i32 = 504;

/// `allow http://127.0.0.1:8080 …; connect_timeout 2s; read_timeout 10s; max_body 16m;`
#[derive(serde::Deserialize)]
#[serde(default)]
struct Config {
    /// Origins that may be asked; all where there is none.
    allow: List<String>,
    connect_timeout: Duration,
    read_timeout: Duration,
    max_body: Size,
    user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow: List::default(),
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(10),
            max_body: Size(16 << 20),
            user_agent: concat!("nffi-http-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

struct HttpClient {
    client: Client,
    allow: Vec<reqwest::Url>,
    max_body: u64,
}

impl Service for HttpClient {
    type Config = Config;
    type Error = Error;

    fn check(config: &Config) -> Result<(), Error> {
        question::origins(&config.allow).map(drop)
    }

    async fn new(config: Config, _: &Context) -> Result<Self, Error> {
        let client = Client::builder()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .redirect(Policy::none())
            .user_agent(config.user_agent)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, allow: question::origins(&config.allow)?, max_body: config.max_body.0 })
    }

    /// Dropped when the caller goes, and with it the connection.
    async fn handle(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let question = Question::read(request.whole().await?)?;
        question.refuse_unless(&self.allow)?;
        let mut response = question.ask(&self.client).send().await.map_err(of_reqwest)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::new(status.as_u16().into(), status.to_string()));
        }
        let mut left = self.max_body;
        while let Some(piece) = response.chunk().await.map_err(of_reqwest)? {
            left = left
                .checked_sub(piece.len() as u64)
                .ok_or_else(|| Error::new(BAD_GATEWAY, format!("the answer is larger than {} bytes", self.max_body)))?;
            request.write(&piece).await?;
        }
        Ok(Vec::new())
    }
}

fn of_reqwest(error: reqwest::Error) -> Error {
    let status = if error.is_timeout() { GATEWAY_TIMEOUT } else { BAD_GATEWAY };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    Error::new(status, message)
}

nffi::export_async!(HttpClient);
