//! A library of an app alone, with options.

use axum::{Router, routing::get};

#[derive(serde::Deserialize)]
struct Config {
    greeting: String,
}

fn check(config: &Config) -> Result<(), &'static str> {
    if config.greeting.is_empty() { Err("there is no greeting") } else { Ok(()) }
}

#[nffi::service(check = check)]
async fn app(config: Config, context: &nffi::Context) -> Result<Router, String> {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let greeting = format!("{} from {} thread", config.greeting, context.threads);
    Ok(Router::new().route("/service", get(async move || greeting.clone())))
}
