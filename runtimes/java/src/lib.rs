//! The Java host: a runtime that runs a JVM.
