//! Places at which a test lets the program die, as a crash would: right after a step, before anything learns of it.
//!
//! `DAYBOOK_TEST_DIE_AT=<step>` names one; without it a place is a comparison with nothing. The process ends at once, by SIGABRT: no
//! destructor runs, no answer is sent, nothing is flushed.

use std::sync::LazyLock;

static DIE_AT: LazyLock<Option<String>> = LazyLock::new(|| crate::config::variable("DAYBOOK_TEST_DIE_AT"));

/// Ends the process if `step` is where it is to die.
pub fn after(step: &str) {
    if DIE_AT.as_deref() == Some(step) {
        tracing::warn!(step, "dying here, as a test asked for");
        std::process::abort();
    }
}

/// The same for a step of a kind of thing: `capture.called`.
pub fn after_of(kind: &str, step: &str) {
    if let Some(named) = DIE_AT.as_deref()
        && named.split_once('.') == Some((kind, step))
    {
        after(named);
    }
}
