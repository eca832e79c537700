//! Ctrl-C: the first asks the run to stop at the next step, the second ends the process.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::output;

/// Exit status of a run that was stopped: 128 + the number of SIGINT, as shells have it.
pub const STATUS: u8 = 130;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C (and SIGTERM, SIGHUP) asks for a stop instead of ending the process.
///
/// Verbs that have nothing to save don't call this: there Ctrl-C ends the process at once.
pub fn listen() {
    let handler = || {
        if STOPPED.swap(true, Ordering::SeqCst) {
            process::exit(STATUS.into());
        }
        // The terminal may be gone: that must not stop the checkpoint.
        let _ = writeln!(
            io::stderr(),
            "\nstopping after this step and writing a checkpoint; press Ctrl-C again to give up"
        );
    };
    // Without a handler Ctrl-C still ends the process; the run can be resumed from its last
    // checkpoint all the same.
    if let Err(error) = ctrlc::set_handler(handler) {
        output::note(&format!("Ctrl-C will not write a checkpoint: {error}"));
    }
}

/// Whether a stop was asked for.
pub fn asked() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
