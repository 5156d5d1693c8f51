//! The Python host: a runtime that runs CPython.
