//! Keeping foreign code from harming the process it lives in: signals that land on foreign
//! threads, children that nginx would reap, exits that would take the site down.
//!
//! | harm                                                   | defence                            |
//! |--------------------------------------------------------|------------------------------------|
//! | nginx's SIGCHLD handler reaps a runtime's children     | SIGCHLD is default in workers      |
//! | nginx's handlers run on a runtime's thread             | they are sent on to the main thread|
//! | a worker that exits with code 2 is never started again | the master is told otherwise       |
//! | exit() runs destructors under running threads          | such an exit is logged and cut short|

mod exit;
mod respawn;
mod signals;

pub use exit::{guard as guard_exit, guard_again as guard_exit_again, is_up, leaving};
pub use respawn::{guard_workers, name_runtime};
pub use signals::guard as guard_signals;
