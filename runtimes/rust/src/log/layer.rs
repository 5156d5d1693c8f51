//! The layer of `tracing-subscriber` that writes events as lines.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{Level, MOST, Ordering, place};

pub(super) struct HostLayer;

/// A span's fields, as they follow a message.
struct Fields(String);

/// Collects a message, and fields after it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // The `log` crate's own, which are in the metadata already.
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HostLayer {
    /// Which runtime's level counts depends on the thread, so the answer is not kept.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let most = Level::from_number(MOST.load(Ordering::Acquire));
        if Level::of(*metadata.level()) <= most { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        place().is_some_and(|place| Level::of(*metadata.level()) <= place.level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Level::from_number(MOST.load(Ordering::Acquire)).filter())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut line = Line::default();
        attributes.record(&mut line);
        span.extensions_mut().insert(Fields(line.fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut line = Line::default();
        values.record(&mut line);
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.0.push_str(&line.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(place) = place() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.fields.push_str(&fields.0);
            }
        }
        let level = event.normalized_metadata().map_or(*event.metadata().level(), |metadata| *metadata.level());
        if line.message.is_empty() {
            // An event of fields alone begins with the first of them.
            line.message = line.fields.split_off(0).trim_start().to_owned();
        }
        line.message.push_str(&line.fields);
        place.line(Level::of(level), &line.message);
    }
}
