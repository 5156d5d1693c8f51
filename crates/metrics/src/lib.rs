//! What runtimes do, over all workers of an nginx and all its reloads.
//!
//! | module     | what it holds                                                                     |
//! |------------|-----------------------------------------------------------------------------------|
//! | [`zone`]   | the counters in shared memory, by runtime; and what each worker has under way       |
//! | [`member`] | a worker's own part of it: it counts for itself, and hands over what has come together |
//! | [`view`]   | what a zone says, at one moment                                                     |
//! | [`render`] | that as Prometheus' text, OpenMetrics, JSON, or a page for a browser                |

pub mod member;
pub mod render;
pub mod view;
pub mod zone;
