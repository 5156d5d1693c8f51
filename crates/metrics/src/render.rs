//! A view as a client wants it.

mod json;
mod text;

use crate::view::View;

/// A way to write a view down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text, version 0.0.4.
    Prometheus,
    OpenMetrics,
    Json,
    /// For a browser, live.
    Page,
}

impl Format {
    /// By the name in a query: `?format=json`.
    pub fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"prometheus" => Self::Prometheus,
            b"openmetrics" => Self::OpenMetrics,
            b"json" => Self::Json,
            b"html" => Self::Page,
            _ => return None,
        })
    }

    /// By what a client accepts (RFC 9110, section 12.5.1): of what it likes best, what it names first; Prometheus' text
    /// where it names nothing that is known.
    pub fn accepted(accept: &[u8]) -> Self {
        let mut best = (0.0, Self::Prometheus);
        for range in accept.split(|b| *b == b',') {
            let mut parts = range.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_slice() {
                b"text/plain" => Self::Prometheus,
                b"application/openmetrics-text" => Self::OpenMetrics,
                b"application/json" => Self::Json,
                b"text/html" => Self::Page,
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.strip_prefix(b"q="))
                .map_or(Some(1.0), |quality| std::str::from_utf8(quality).ok()?.parse::<f32>().ok());
            if let Some(quality) = quality
                && quality > best.0
            {
                best = (quality, format);
            }
        }
        best.1
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Json => "application/json",
            Self::Page => "text/html; charset=utf-8",
        }
    }

    /// `gojinn_names`: with the seed's names besides, where the format is text for Prometheus.
    pub fn render(self, view: &View, gojinn_names: bool) -> String {
        match self {
            Self::Prometheus => text::write(view, text::Dialect::Prometheus, gojinn_names),
            Self::OpenMetrics => text::write(view, text::Dialect::OpenMetrics, gojinn_names),
            Self::Json => json::write(view),
            Self::Page => include_str!("render/page.html").to_owned(),
        }
    }
}
